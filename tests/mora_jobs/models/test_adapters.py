"""LoRA adapters: found, checked, and in force; several of them are their exact sum."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from mora_jobs import api
from mora_jobs.api.inputs import DType
from mora_jobs.errors import UserError
from mora_jobs.models import combined_adapter, fetch, load_causal_lm

IDS = torch.tensor([[5, 9, 33, 7, 100, 42]])


def make_adapter(model: Path, folder: Path, seed: int, **config: Any) -> Path:
    """A LoRA with random factors of a size that changes the model clearly."""
    base = AutoModelForCausalLM.from_pretrained(model)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | config
    adapted = get_peft_model(base, LoraConfig(**settings))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("adapters")
    return [
        make_adapter(tiny_model, root / "one", 1),
        make_adapter(tiny_model, root / "two", 2, r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"]),
        make_adapter(tiny_model, root / "three", 3, r=4, lora_alpha=2, use_rslora=True),
    ]


def ref(model: Path, adapters: list[Path]) -> api.ModelRef:
    entries = [{"name": f"a{i}", "uri": f"file://{each}"} for i, each in enumerate(adapters)]
    return api.ModelRef.model_validate({"uri": f"file://{model}", "adapters": entries})


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(IDS).logits[0].float()


def merged_by_peft(model: Path, adapters: list[Path]) -> torch.Tensor:
    base = AutoModelForCausalLM.from_pretrained(model)
    for each in adapters:
        base = PeftModel.from_pretrained(base, each).merge_and_unload()
    return logits(base.eval())


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_model_with_its_adapters_is_what_peft_merges(tiny_model: Path, adapters: list[Path], count: int) -> None:
    found = logits(load_causal_lm(ref(tiny_model, adapters[:count])))
    expected = merged_by_peft(tiny_model, adapters[:count])
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    if count:
        assert (found - merged_by_peft(tiny_model, adapters[: count - 1])).abs().max() > 0.1


def test_in_half_precision_small_updates_are_not_rounded_away(tiny_model: Path, tmp_path: Path) -> None:
    small = make_adapter(tiny_model, tmp_path / "small", 7, lora_alpha=0.02, target_modules="all-linear")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    delta = merged_by_peft(tiny_model, [small]) - logits(base.eval())
    with_it = load_causal_lm(ref(tiny_model, [small]), DType.BFLOAT16)
    assert with_it.dtype == torch.bfloat16
    changed = [name for name, _ in with_it.named_parameters() if "lora_A" in name]
    assert len(changed) == 14
    found = logits(with_it) - logits(load_causal_lm(ref(tiny_model, []), DType.BFLOAT16))
    merged = AutoModelForCausalLM.from_pretrained(tiny_model)
    merged = PeftModel.from_pretrained(merged, small).merge_and_unload().to(torch.bfloat16)
    rounded = logits(merged) - logits(load_causal_lm(ref(tiny_model, []), DType.BFLOAT16))
    assert (found - delta).norm() < (rounded - delta).norm()


def test_several_adapters_become_one_of_the_summed_rank(tiny_model: Path, adapters: list[Path]) -> None:
    folder = combined_adapter(fetch(ref(tiny_model, adapters)))
    assert folder is not None
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (11, 11, False)
    assert config["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    assert combined_adapter(fetch(ref(tiny_model, adapters))) == folder
    assert combined_adapter(fetch(ref(tiny_model, adapters[:1]))) == adapters[0]
    assert combined_adapter(fetch(ref(tiny_model, []))) is None


def test_digests_of_adapters(tiny_model: Path, adapters: list[Path]) -> None:
    local = fetch(ref(tiny_model, adapters))
    assert [each.name for each in local.adapters] == ["a0", "a1", "a2"]
    assert len({each.digest for each in local.adapters}) == 3
    assert local.digest == fetch(ref(tiny_model, [])).digest


def test_a_folder_that_is_no_adapter(tiny_model: Path, adapters: list[Path]) -> None:
    with pytest.raises(UserError, match="adapter a1 is not in the PEFT layout"):
        fetch(ref(tiny_model, [adapters[0], tiny_model]))


def test_an_adapter_of_another_model(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "adapter", 1)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["no_such_layer"]}))
    with pytest.raises(UserError, match=r"its adapters \(a0\) do not fit"):
        load_causal_lm(ref(tiny_model, [adapter]))


@pytest.mark.parametrize("config", [{"use_dora": True}, {"rank_pattern": {"q_proj": 2}}, {"bias": "all"}])
def test_adapters_that_are_more_than_a_sum_are_not_combined(
    tiny_model: Path, adapters: list[Path], tmp_path: Path, config: dict[str, Any]
) -> None:
    special = make_adapter(tiny_model, tmp_path / "special", 4, **config)
    local = fetch(ref(tiny_model, [adapters[0], special]))
    with pytest.raises(UserError, match="adapter a1 is not a plain LoRA"):
        combined_adapter(local)
