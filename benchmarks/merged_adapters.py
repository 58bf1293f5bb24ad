"""How much of a LoRA update is left when it is merged into bf16 weights.

    python benchmarks/merged_adapters.py file://examples/quickstart/models/SmolLM2-135M-Instruct.Q4_1.gguf runs/quickstart/align/points/point-1

prints the share ⟨Δ', Δ⟩ / ⟨Δ, Δ⟩ of the update Δ = (alpha / r) B A that the merged weights' change Δ' still carries.
"""

import json
import sys
from pathlib import Path

from safetensors.torch import load_file

from mora_jobs import api
from mora_jobs.api.inputs import DType
from mora_jobs.models import fetch, load_causal_lm


def main(model: str, adapter: Path) -> None:
    uri = f"file://{Path(model.removeprefix('file://')).resolve()}" if model.startswith("file://") else model
    weights = dict(load_causal_lm(fetch(api.ModelRef(uri=uri)), DType.FLOAT32).named_parameters())
    config = json.loads((adapter / "adapter_config.json").read_text())
    factors = load_file(adapter / "adapter_model.safetensors")
    left = whole = 0.0
    for name, a in factors.items():
        if ".lora_A." not in name:
            continue
        b = factors[name.replace("lora_A", "lora_B")].float()
        update = config["lora_alpha"] / config["r"] * (b @ a.float())
        weight = weights[name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")].detach()
        change = (weight + update).bfloat16().float() - weight.bfloat16().float()
        left += float((change * update).sum())
        whole += float((update * update).sum())
    print(f"{100 * left / whole:.0f} % of the update is left in bf16 weights")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
