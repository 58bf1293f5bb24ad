"""What the two Dockerfiles say, and that hack/images/build executes these same files."""

import re
from pathlib import Path

import pytest
from dockerfile import Stage, Step, read

from mora_jobs import __version__

ROOT = Path(__file__).parents[2]
OPERATOR, RUNTIME = ROOT / "operator/Dockerfile", ROOT / "images/runtime/Dockerfile"
IMAGES = [
    pytest.param(OPERATOR, {}, "requirements/operator.txt", id="operator"),
    pytest.param(RUNTIME, {}, "requirements/runtime-cpu.txt", id="runtime-cpu"),
    pytest.param(RUNTIME, {"VARIANT": "gpu"}, "requirements/runtime-gpu.txt", id="runtime-gpu"),
]


def steps(stages: list[Stage], kind: str) -> list[Step]:
    return [step for stage in stages for step in stage.steps if step.kind == kind]


def copied_from_here(stages: list[Stage]) -> list[str]:
    copies = steps(stages, "COPY")
    return [source for step in copies if "from" not in step.options for source in step.words[:-1]]


@pytest.mark.parametrize(("file", "arguments", "lock"), IMAGES)
def test_distributions_are_installed_from_lock_files_with_hashes_only(
    file: Path, arguments: dict[str, str], lock: str
) -> None:
    stages = read(file, arguments)
    installs = [step for step in steps(stages, "RUN") if "pip install" in step.words[0]]
    locks = []
    for step in installs:
        command = re.sub(r"\$\{(\w+)\}", lambda name, scope=step.environment: scope[name[1]], step.words[0])
        assert command.count("pip install") == 1
        given = re.split(r"pip install ", command)[1].split(" && ")[0].split()
        assert {"--require-hashes", "--no-deps"} <= set(given)
        locks.append(given[given.index("-r") + 1])
        rest = [word for word in given[: given.index("-r")] if not word.startswith("-")]
        assert set(rest) <= {":all:", "/opt/mora/bin/python"}, "a distribution that no lock file names"
    names = {source.rpartition("/")[2]: source for source in copied_from_here(stages)}
    assert [names[path.removeprefix("/build/")] for path in locks] == ["images/uv.txt", lock]


@pytest.mark.parametrize(
    "lock", ["images/uv.txt", *(f"requirements/{name}.txt" for name in ("operator", "runtime-cpu", "runtime-gpu"))]
)
def test_every_line_of_a_lock_file_is_one_version_with_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert entries
    assert not [line for line in entries if not re.match(r"[a-z0-9.-]+==\S+( ;[^#]*?)?\s+--hash=sha256:", line)]


@pytest.mark.parametrize(("file", "arguments", "lock"), IMAGES)
def test_images_run_as_a_user_without_rights_given_by_number(file: Path, arguments: dict[str, str], lock: str) -> None:
    user, group = read(file, arguments)[-1].config["User"].split(":")
    assert int(user) >= 1000  # a name could not be checked by runAsNonRoot
    assert int(group) >= 1000


@pytest.mark.parametrize(("file", "arguments", "lock"), IMAGES)
def test_images_say_what_they_are_in_labels_of_oci(file: Path, arguments: dict[str, str], lock: str) -> None:
    labels = read(file, arguments)[-1].config["Labels"]
    prefix = "org.opencontainers.image."
    assert set(labels) == {prefix + name for name in ("title", "description", "version", "licenses")}
    assert labels[f"{prefix}version"] == __version__
    assert labels[f"{prefix}licenses"] == "Apache-2.0"


@pytest.mark.parametrize(("file", "arguments", "lock"), IMAGES)
def test_all_stages_stand_on_one_base_whose_python_is_where_code_is_copied_to(
    file: Path, arguments: dict[str, str], lock: str
) -> None:
    stages = read(file, arguments)
    assert {stage.base for stage in stages} == {"python:3.11-slim-bookworm"}
    assert stages[-1].steps[-1].words[-1] == "/opt/mora/lib/python3.11/site-packages/"
    pinned = read(file, arguments | {"PYTHON": "mirror/python@sha256:0"})
    assert {stage.base for stage in pinned} == {"mirror/python@sha256:0"}


@pytest.mark.parametrize(("file", "arguments", "lock"), IMAGES)
def test_what_is_copied_is_not_ignored(file: Path, arguments: dict[str, str], lock: str) -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in copied_from_here(read(file, arguments)):
        assert (ROOT / source).exists()
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source


def test_only_the_gpu_variant_has_a_compiler_and_all_have_what_probes_and_vllm_call() -> None:
    for variant in ("cpu", "gpu"):
        (run,) = [step for step in read(RUNTIME, {"VARIANT": variant})[-1].steps if step.kind == "RUN"]
        assert run.environment == {"VARIANT": variant}
        for package in ("wget", "procps", "libnuma1"):
            assert f" {package} " in run.words[0]
        assert '$(test "$VARIANT" != gpu || echo gcc libc6-dev)' in run.words[0]


def test_an_instruction_that_is_not_executed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM base\nADD a b\n")
    with pytest.raises(SystemExit, match="ADD is not understood"):
        read(file, {})
