"""The API is light: whoever imports it loads nothing of the machinery."""

import subprocess
import sys

HEAVY = ("torch", "ray", "vllm", "numpy", "transformers", "kubernetes", "kopf", "cel", "httpx")


def test_importing_the_api_loads_nothing_heavy() -> None:
    code = f"import sys, mora_jobs.api; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
