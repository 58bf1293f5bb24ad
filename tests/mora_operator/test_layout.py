"""`operator` is Python's own module, and importing ours loads nothing heavy."""

import operator
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_folder_operator_never_becomes_a_package() -> None:
    assert not list(ROOT.glob("operator/__init__.py"))
    assert not list(ROOT.glob("tests/operator"))
    assert operator.__file__ is not None
    assert Path(operator.__file__).parent == Path(sys.base_prefix) / "lib" / f"python3.{sys.version_info.minor}"


def test_the_operator_loads_no_torch_ray_or_numpy() -> None:
    code = (
        "import sys, mora_operator.main; "
        "print([name for name in ('torch', 'ray', 'vllm', 'numpy', 'transformers', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
