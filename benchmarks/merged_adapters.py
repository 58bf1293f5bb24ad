"""How much of a LoRA update is left when it is merged into bf16 weights.

    python benchmarks/merged_adapters.py file://examples/quickstart/models/SmolLM2-135M-Instruct.Q4_1.gguf runs/quickstart/align/points/point-1

prints the share ⟨Δ', Δ⟩ / ⟨Δ, Δ⟩ of the update Δ = (alpha / r) B A that the merged weights' change Δ' still carries.
"""

import sys
from pathlib import Path

from mora_jobs import api
from mora_jobs.align.soup import updates_of
from mora_jobs.api.inputs import DType
from mora_jobs.models import fetch, load_causal_lm


def main(model: str, adapter: Path) -> None:
    uri = f"file://{Path(model.removeprefix('file://')).resolve()}" if model.startswith("file://") else model
    weights = dict(load_causal_lm(fetch(api.ModelRef(uri=uri)), DType.FLOAT32).named_parameters())
    left = whole = 0.0
    for module, update in updates_of(adapter).items():
        weight = weights[f"{module.removeprefix('base_model.model.')}.weight"].detach()
        change = (weight + update).bfloat16().float() - weight.bfloat16().float()
        left += float((change * update).sum())
        whole += float((update * update).sum())
    print(f"{100 * left / whole:.0f} % of the update is left in bf16 weights")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
