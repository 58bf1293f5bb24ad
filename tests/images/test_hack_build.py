"""What hack/images/build and hack/tools/build are told, and say."""

import importlib.machinery
import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from dockerfile import read
from without import without

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "hack" / "tools" / "build"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("hack_images_build", str(ROOT / "hack/images/build"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_target_executes_a_dockerfile_and_leaves_out_only_what_its_lock_file_has(build: ModuleType) -> None:
    assert set(build.TARGETS) == {"operator", "runtime-cpu", "runtime-gpu", "runtime-small"}
    for file, arguments, left_out in build.TARGETS.values():
        stages = read(ROOT / file, arguments)
        assert stages[-1].config["User"]
        if left_out:
            (dependencies,) = [stage for stage in stages if stage.name == "dependencies"]
            assert build.LOCK in dependencies.steps[0].words
            assert "vllm" not in without((ROOT / build.LOCK).read_text(), left_out)


def test_a_given_folder_of_binaries_is_taken_as_it_is(tmp_path: Path) -> None:
    done = subprocess.run(
        [TOOLS, "test"],
        env=os.environ | {"KUBEBUILDER_ASSETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_part_is_told_with_those_there_are(tmp_path: Path) -> None:
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([TOOLS, "docker"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    for part in ("test", "cluster", "kueue", "flux", "where"):
        assert f"hack/tools/build {part}" in done.stderr


def test_without_go_what_is_missing_is_told_with_what_to_do(tmp_path: Path) -> None:
    system = tmp_path / "bin"
    system.mkdir()
    for name in ("bash", "env", "cat", "sha256sum", "cut", "sed", "dirname", "readlink", "mkdir", "flock"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (system / name).symlink_to(found)
    env = {"PATH": str(system), "HOME": str(tmp_path)}
    done = subprocess.run([TOOLS, "test"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "etcd is missing: install Go" in done.stderr
