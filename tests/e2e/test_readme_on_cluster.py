"""README, "In a cluster": every command, as it stands there, from an empty cluster to the Pareto front."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import objects
from kubectl import Namespace

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
NAME = "quickstart"
SECONDS = 7200


def commands() -> list[str]:
    """The indented lines of the section."""
    text = (ROOT / "README.md").read_text()
    section = text.split("\n## In a cluster\n")[1].split("\n## ")[0]
    found = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    assert len(found) > 10
    return found


@pytest.fixture
def volume(runtime_image: str, tmp_path: Path) -> Iterator[Path]:
    """What a storage class would provide: a volume for the claim of the quickstart."""
    folder = Path(os.environ.get("MORA_E2E_VOLUME", tmp_path)) / NAME
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    cluster = Namespace("default", folder)
    _, persistent, _ = objects(NAME, folder)
    persistent["spec"]["claimRef"]["name"] = NAME
    persistent["spec"]["capacity"] = {"storage": "2Gi"}
    cluster.apply(persistent)
    try:
        yield folder
    finally:
        cluster.kubectl("config", "set-context", "--current", "--namespace=default", namespaced=False)
        cluster.kubectl("delete", "namespace", NAME, "--ignore-not-found", timeout=300)
        cluster.kubectl("delete", "persistentvolume", NAME)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(SECONDS + 900)
def test_every_command_of_the_readme(volume: Path, runtime_image: str, tmp_path: Path) -> None:
    registry, _, tag = runtime_image.rpartition("/mora-runtime:")
    assert registry, "MORA_E2E_IMAGE must be REGISTRY/mora-runtime:TAG, as the README calls it"
    script = "\n".join(commands()).replace("registry.example.com/mora", registry)
    # The readme speaks of a release; the test's images have tags of their own.
    script = script.replace("mora-runtime:0.1.0", f"mora-runtime:{tag}").replace(
        "mora-operator --set", f"mora-operator --set-string image.tag={os.environ['MORA_E2E_OPERATOR_TAG']} --set"
    )
    print(script)
    done = subprocess.run(
        [*shlex.split(os.environ.get("MORA_E2E_EXEC", "")), "bash", "-euxo", "pipefail", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    print(done.stdout, re.sub(r"\s+", " ", done.stderr[-4000:]))
    assert done.returncode == 0
    assert re.search(r"alignmentjob\S*/quickstart-align\s+Complete", done.stdout)
    assert '"hypervolume"' in done.stdout
