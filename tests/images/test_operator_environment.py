"""The operator's environment as its image has it: installed from the lock file, with the packages that are copied."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile import read

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "operator.txt"
INSTALLED = (
    "import importlib.metadata as m, json; print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with what the image's stage `dependencies` installs."""
    folder = tmp_path_factory.mktemp("operator") / "venv"
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "--no-deps", "--require-hashes"]
    subprocess.run([*install, "-r", LOCK], check=True)
    return folder


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of the image's stage `code`."""
    folder = tmp_path_factory.mktemp("code")
    (stage,) = [stage for stage in read(ROOT / "operator/Dockerfile", {}) if stage.name == "code"]
    for step in stage.steps:
        if step.kind == "COPY":
            *sources, target = step.words
            place = folder / target.removeprefix("/code/")
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place)
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, place)
    return folder


def locked(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", lock.read_text(), flags=re.M))


def test_every_distribution_is_in_the_lock_file_with_its_version_and_none_is_missing(environment: Path) -> None:
    done = subprocess.run(
        [environment / "bin" / "python", "-c", INSTALLED], capture_output=True, text=True, check=True
    )
    installed = {re.sub(r"[-_.]+", "-", name): version for name, version in json.loads(done.stdout).items()}
    assert installed == locked(LOCK)


def test_no_framework_for_training_is_among_them() -> None:
    assert not {"torch", "ray", "vllm", "numpy", "transformers", "pyarrow"} & set(locked(LOCK))
    assert {"torch", "ray", "trl", "transformers"} <= set(locked(ROOT / "requirements/runtime-cpu.txt"))
    assert {"torch", "ray", "trl", "vllm"} <= set(locked(ROOT / "requirements/runtime-gpu.txt"))


def test_the_operator_starts_with_nothing_but_these(environment: Path, code: Path) -> None:
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); import runpy; runpy.run_module('mora_operator', run_name='__main__')"
    command = [environment / "bin" / "python", "-I", "-c", run, code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=code)
    assert done.returncode == 0, done.stderr
    assert "--runtime-image" in done.stdout


def test_of_mora_jobs_the_operator_has_the_api_only(code: Path) -> None:
    assert sorted(path.name for path in code.iterdir()) == ["mora_jobs", "mora_operator"]
    jobs = {path.name for path in (code / "mora_jobs").iterdir()} - {"__pycache__"}
    assert jobs == {"__init__.py", "errors.py", "api"}


def test_kopf_finds_a_name_for_a_user_that_the_system_does_not_know(environment: Path) -> None:
    def unknown(settings: list[str]) -> subprocess.CompletedProcess[str]:
        code = (
            "import pwd; pwd.getpwuid = {}.__getitem__; "
            "from kopf._core.engines.peering import detect_own_id; print(detect_own_id(manual=False))"
        )
        env = dict(setting.split("=", 1) for setting in settings)
        command = [environment / "bin" / "python", "-c", code]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    settings = read(ROOT / "operator/Dockerfile", {})[-1].config["Env"]
    assert unknown(settings).stdout.startswith("mora@")
    assert unknown([setting for setting in settings if not setting.startswith("LOGNAME=")]).returncode != 0
