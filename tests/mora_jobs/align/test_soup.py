"""Adapters combined in weight space."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mora_jobs import api
from mora_jobs.align.export import export_full, export_merged
from mora_jobs.align.soup import combine, updates_of
from mora_jobs.errors import UserError
from mora_jobs.models import fetch

IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def adapters(tiny_model, tmp_path_factory) -> list[Path]:
    """Three adapters of different ranks, scales and targets, with weights that are not zero."""
    folder = tmp_path_factory.mktemp("adapters")
    made = []
    for index, (rank, alpha, targets, rslora) in enumerate(
        [
            (4, 8, ["q_proj", "v_proj"], False),
            (2, 3, ["q_proj", "v_proj", "down_proj"], True),
            (3, 3, ["q_proj"], False),
        ]
    ):
        torch.manual_seed(index)
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=targets,
            use_rslora=rslora,
            task_type="CAUSAL_LM",
            init_lora_weights=False,
        )
        get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder / str(index))
        made.append(folder / str(index))
    return made


def plain_update(folder: Path, module: str) -> torch.Tensor:
    """ΔW straight from the definition."""
    import json

    config = json.loads((folder / "adapter_config.json").read_text())
    state = load_file(folder / "adapter_model.safetensors")
    a, b = state[f"{module}.lora_A.weight"], state[f"{module}.lora_B.weight"]
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
    return scale * b @ a


def test_a_soup_interpolates_updates_and_not_factors(adapters, tmp_path):
    weights = [0.5, 0.2, 0.3]
    combine(list(zip(adapters, weights, strict=True)), tmp_path / "soup")
    mixed = updates_of(tmp_path / "soup")
    q = "base_model.model.model.layers.0.self_attn.q_proj"
    wanted = sum(w * plain_update(folder, q) for folder, w in zip(adapters, weights, strict=True))
    assert torch.allclose(mixed[q], wanted, atol=1e-6)
    down = "base_model.model.model.layers.1.mlp.down_proj"
    assert torch.allclose(mixed[down], 0.2 * plain_update(adapters[1], down), atol=1e-6)

    states = [load_file(folder / "adapter_model.safetensors") for folder in adapters[:1] * 2]
    states[1] = {name: tensor.flip(0) for name, tensor in states[1].items()}
    apart = sum(0.5 * s[f"{q}.lora_B.weight"] for s in states) @ sum(0.5 * s[f"{q}.lora_A.weight"] for s in states)
    together = sum(0.5 * s[f"{q}.lora_B.weight"] @ s[f"{q}.lora_A.weight"] for s in states)
    assert not torch.allclose(apart, together, atol=1e-2), "averaging the factors would be another matrix"


def test_the_soup_as_peft_loads_it_is_the_model_with_the_mixed_weights(adapters, tiny_model, tmp_path):
    parts = [(adapters[0], 0.7), (adapters[1], 0.3)]
    combine(parts, tmp_path / "soup")
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "soup").eval()
    local = fetch(api.ModelRef(uri=f"file://{tiny_model}"))
    export_merged(local, parts, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    by_hand = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    with torch.no_grad():
        for folder, weight in parts:
            for module, update in updates_of(folder).items():
                by_hand.get_submodule(module.removeprefix("base_model.model.")).weight += weight * update
        wanted = by_hand(IDS).logits
        assert not torch.allclose(wanted, AutoModelForCausalLM.from_pretrained(tiny_model)(IDS).logits, atol=1e-2)
        assert torch.allclose(loaded(IDS).logits, wanted, atol=1e-4)
        assert torch.allclose(merged(IDS).logits, wanted, atol=1e-4)
    assert (tmp_path / "merged" / "tokenizer.json").exists()


def test_a_corner_of_the_simplex_is_the_expert_itself(adapters, tmp_path):
    combine([(adapters[0], 1.0), (adapters[1], 0.0)], tmp_path / "corner")
    expert = updates_of(adapters[0])
    corner = updates_of(tmp_path / "corner")
    assert corner.keys() == expert.keys()
    assert all(torch.allclose(corner[module], update, atol=1e-6) for module, update in expert.items())


def test_full_models_are_averaged_by_their_weights(tiny_model, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for index in range(2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.full_like(parameter, 1.0 + index))
        model.save_pretrained(tmp_path / str(index))
    local = fetch(api.ModelRef(uri=f"file://{tiny_model}"))
    export_full(local, [(tmp_path / "0", 0.25), (tmp_path / "1", 0.75)], tmp_path / "mean")
    mean = AutoModelForCausalLM.from_pretrained(tmp_path / "mean")
    assert all(torch.allclose(p, torch.full_like(p, 1.75)) for p in mean.parameters())


def test_dora_is_refused(tiny_model, tmp_path):
    config = LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(tmp_path / "dora")
    with pytest.raises(UserError, match="not a plain LoRA adapter"):
        combine([(tmp_path / "dora", 1.0)], tmp_path / "out")
