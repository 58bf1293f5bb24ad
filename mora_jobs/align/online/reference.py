"""The reference of an online training, as a model that gives log-probabilities of tokens."""

from typing import Any

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from mora_jobs.align.policy import TRAINED, load_reference
from mora_jobs.models import LocalModel


class Start:
    """The policy before its first step: what was learned before stays, the adapter that is trained counts nothing.

    So no second model is held. TRL would leave out all adapters, also those of earlier stages.
    """

    def __init__(self, policy: PeftModel) -> None:
        self._policy = policy
        self._layers = [each for each in policy.modules() if isinstance(each, LoraLayer) and TRAINED in each.scaling]

    def __call__(self, **inputs: Any) -> Any:
        before = [layer.scaling[TRAINED] for layer in self._layers]
        for layer in self._layers:
            layer.scaling[TRAINED] = 0.0
        try:
            return self._policy(**inputs)
        finally:
            for layer, scale in zip(self._layers, before, strict=True):
                layer.scaling[TRAINED] = scale


def other_reference(local: LocalModel, temperature: float, *, bf16: bool) -> PreTrainedModel:
    """spec.referenceModel, on the CPU."""
    model = load_reference(local, bf16=bf16)
    add_fused_lm_head(model, temperature=temperature)
    return model
