"""Log-probabilities of responses: however they are batched and padded, and against a plain softmax."""

import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mora_jobs.align.batches import collate
from mora_jobs.align.likelihood import add_response_likelihood
from mora_jobs.align.reference import compute, fill, reference_table
from mora_jobs.align.tokens import Example
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

INPUTS = ("input_ids", "attention_mask", "completion_mask")


@pytest.fixture(scope="module")
def model(tiny_model):
    loaded = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    add_response_likelihood(loaded)
    return loaded


def pair(chance: random.Random, name: str, most: int) -> Example:
    prompt, chosen, rejected = ([chance.randrange(3, 200) for _ in range(chance.randint(1, most))] for _ in range(3))
    return Example(name, prompt, [chosen, rejected], (1,))


def one_by_one(model, pairs) -> torch.Tensor:
    """[n, 2] by the model's own logits, a sequence at a time, without any padding."""
    found = []
    for each in pairs:
        for response in each.responses:
            ids = torch.tensor([each.prompt + response])
            logits = model(input_ids=ids).logits[0].double().log_softmax(-1)
            start = len(each.prompt)
            found.append(sum(float(logits[start - 1 + i, token]) for i, token in enumerate(response)))
    return torch.tensor(found, dtype=torch.float64).reshape(-1, 2)


@torch.no_grad()
def test_padded_batches_equal_single_sequences(model):
    chance = random.Random(1)
    pairs = [pair(chance, str(index), 40) for index in range(12)]
    wanted = one_by_one(model, pairs)
    batch = collate(pairs, pad=0)
    padded = model(**{name: batch[name] for name in INPUTS}).reshape(-1, 2)
    assert torch.allclose(padded.double(), wanted, rtol=1e-5)


@torch.no_grad()
def test_bucketed_batches_equal_padded_ones(model, tmp_path):
    chance = random.Random(2)
    pairs = [pair(chance, str(index), 40) for index in range(11)]
    batch = collate(pairs, pad=0)
    padded = model(**{name: batch[name] for name in INPUTS}).reshape(-1, 2)
    table = reference_table(Store(f"file://{tmp_path}"), "model")
    assert not fill(pairs, table)
    compute(model, pairs, table, set(), batch_size=2, pad=0, device=torch.device("cpu"), rank=0, world=1)
    assert fill(pairs, table)
    bucketed = torch.tensor([each.reference for each in pairs])
    assert torch.allclose(bucketed, padded, rtol=1e-5)


def test_a_reference_pass_that_was_cut_off_goes_on_with_the_same_numbers(model, tmp_path):
    chance = random.Random(3)
    pairs = [pair(chance, str(index), 20) for index in range(9)]
    arguments = {"batch_size": 2, "pad": 0, "device": torch.device("cpu")}
    whole = reference_table(Store(f"file://{tmp_path}/whole"), "model")
    compute(model, pairs, whole, set(), rank=0, world=1, **arguments)

    parts = reference_table(Store(f"file://{tmp_path}/parts"), "model")
    compute(model, pairs, parts, set(), rank=1, world=3, **arguments)
    assert 0 < parts.count() < len(pairs)
    row = next(iter(parts.rows()))
    calls: list[int] = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    compute(model, pairs, parts, parts.committed(), rank=0, world=1, **arguments)
    hook.remove()
    assert len(calls) < 5, "what is committed is not computed again"
    assert next(iter(parts.rows())) == row
    assert parts.digest() == whole.digest()


def test_gradients_are_those_of_the_plain_softmax(tiny_model):
    chance = random.Random(4)
    pairs = [pair(chance, str(index), 12) for index in range(3)]
    batch = collate(pairs, pad=0)
    gradients = []
    for patched in (True, False):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        if patched:
            add_response_likelihood(model)
            total = model(**{name: batch[name] for name in INPUTS}).sum()
        else:
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            tokens = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
            total = (tokens * batch["completion_mask"][:, 1:]).sum()
        total.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-3, rtol=1e-4), name


def test_without_a_mask_the_model_is_what_it_was(model):
    assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape[:2] == (1, 3)


def test_an_adapted_output_layer_is_refused(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    add_response_likelihood(model)
    adapted = get_peft_model(model, LoraConfig(target_modules=["lm_head"], task_type="CAUSAL_LM"))
    batch = collate([Example("a", [1], [[2], [3]], (1,))], pad=0)
    with pytest.raises(UserError, match="output layer cannot be adapted"):
        adapted(**{name: batch[name] for name in INPUTS})
