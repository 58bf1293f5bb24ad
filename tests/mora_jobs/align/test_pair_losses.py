"""The losses of a pair: against TRL's own trainer, at the reference model, by finite differences, and turned round."""

import random

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from mora_jobs.align.batches import collate
from mora_jobs.align.likelihood import add_response_likelihood
from mora_jobs.align.methods.base import Answers
from mora_jobs.align.methods.pair_losses import LOSSES, pair_losses
from mora_jobs.align.tokens import Example
from mora_jobs.align.trainer import answers_of
from mora_jobs.api.methods import LossType, PairLoss

TRL_NAMES = {
    LossType.SIGMOID: "sigmoid", LossType.SIGMOID_NORM: "sigmoid_norm", LossType.HINGE: "hinge", LossType.IPO: "ipo",
    LossType.EXO_PAIR: "exo_pair", LossType.NCA_PAIR: "nca_pair", LossType.ROBUST: "robust",
    LossType.BCO_PAIR: "bco_pair", LossType.SPPO_HARD: "sppo_hard", LossType.AOT: "aot",
    LossType.AOT_UNPAIRED: "aot_unpaired", LossType.APO_ZERO: "apo_zero", LossType.APO_DOWN: "apo_down",
    LossType.DISCOPOP: "discopop", LossType.SFT: "sft",
}  # fmt: skip
SMOOTHED = {LossType.EXO_PAIR, LossType.ROBUST, LossType.AOT, LossType.AOT_UNPAIRED}
SORTED = {LossType.AOT, LossType.AOT_UNPAIRED, LossType.SFT}
"""Losses that look at all pairs of a micro-batch together."""


def spec(kind: LossType) -> PairLoss:
    return PairLoss(type=kind, label_smoothing=0.1 if kind in SMOOTHED else 0.0)


def answers(policy, reference=None, signs=None, tokens=None) -> Answers:
    """B pairs from nested lists; at the reference model and of the first opinion unless said otherwise."""
    policy = torch.as_tensor(policy, dtype=torch.float64)
    return Answers(
        policy,
        policy.detach() if reference is None else torch.as_tensor(reference, dtype=torch.float64),
        torch.full(policy.shape, 3) if tokens is None else torch.as_tensor(tokens),
        torch.ones(len(policy), 1) if signs is None else torch.as_tensor(signs, dtype=torch.float64),
    )


@pytest.fixture(scope="module")
def peer(tiny_model, tmp_path_factory):
    """TRL's trainer with a policy that has moved away from its reference model, a batch, and our view of both."""
    torch.manual_seed(3)
    policy, reference, ours = (
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, device_map="cpu").eval()
        for _ in range(3)
    )
    with torch.no_grad():
        for parameter, other in zip(policy.parameters(), ours.parameters(), strict=True):
            parameter.add_(0.02 * torch.randn_like(parameter))
            other.copy_(parameter)
    chance = random.Random(5)
    examples = [
        Example(str(n), *([chance.randrange(3, 200) for _ in range(chance.randint(2, 9))] for _ in range(1)),
                [[chance.randrange(3, 200) for _ in range(chance.randint(2, 9))] for _ in range(2)], (1,), (0.0, 0.0))
        for n in range(5)
    ]  # fmt: skip
    trainer = DPOTrainer(
        model=policy,
        ref_model=reference,
        args=DPOConfig(
            output_dir=str(tmp_path_factory.mktemp("trl")), use_cpu=True, bf16=False, report_to=[], label_smoothing=0.1,
            loss_type="exo_pair", beta=0.3,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )  # fmt: skip
    add_response_likelihood(ours)
    batch = collate(examples, 0)
    ahead = dict(batch)
    batch["reference"] = _reference(reference, batch)
    rows = torch.cat([torch.arange(0, 10, 2), torch.arange(1, 10, 2)])  # TRL wants the chosen ones first
    inputs = {name: ahead[name][rows] for name in ("input_ids", "attention_mask", "completion_mask")}
    inputs["completion_mask"] = inputs["completion_mask"].long()
    return trainer, inputs, answers_of(ours, batch)


def _reference(model, batch) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        tokens = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        return (tokens * batch["completion_mask"][:, 1:]).sum(1).view(-1, 2)


@pytest.mark.parametrize("kind", list(LossType))
def test_every_loss_is_trls_of_the_same_name(peer, kind):
    trainer, inputs, seen = peer
    trainer.loss_types, trainer.label_smoothing = [TRL_NAMES[kind]], 0.1 if kind in SMOOTHED else 0.0
    trainer.args.discopop_tau = 0.05
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, dict(inputs))
    ours = pair_losses(seen, 0.3, spec(kind))[:, 0].mean()
    assert seen.ratio.abs().max() > 0.5, "the policy is not at its reference"
    assert float(ours) == pytest.approx(float(theirs), rel=2e-5)


def test_every_loss_has_a_name_and_an_implementation():
    assert set(TRL_NAMES) == set(LossType) == set(LOSSES)


AT_REFERENCE = {
    LossType.SIGMOID: 0.6931471805599453, LossType.SIGMOID_NORM: 0.6931471805599453, LossType.HINGE: 1.0,
    LossType.IPO: 25.0, LossType.EXO_PAIR: 0.5 * (2 * 0.5108256237659907) , LossType.NCA_PAIR: 1.3862943611198906,
    LossType.ROBUST: 0.6931471805599453, LossType.BCO_PAIR: 1.3862943611198906, LossType.SPPO_HARD: 50.0,
    LossType.AOT: 0.6931471805599453, LossType.AOT_UNPAIRED: 0.6931471805599453, LossType.APO_ZERO: 1.0,
    LossType.APO_DOWN: 1.0, LossType.DISCOPOP: 0.8465735902799727, LossType.SFT: 2.5,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(LossType))
def test_at_the_reference_model_the_loss_is_known(kind):
    """β = 0.1, so IPO's 1/2β is 5; EXO is KL((½, ½) ‖ (0.9, 0.1)); SFT is 7.5 nats over 3 tokens."""
    losses = pair_losses(answers([[-7.5, -3.0], [-7.5, -11.0]]), 0.1, spec(kind))
    assert losses[:, 0].tolist() == pytest.approx([AT_REFERENCE[kind]] * 2, abs=1e-12)


@pytest.mark.parametrize("kind", list(LossType))
def test_gradients_agree_with_finite_differences(kind):
    torch.manual_seed(1)
    reference = -10 * torch.rand(4, 2, dtype=torch.float64)
    policy = (reference + torch.randn(4, 2, dtype=torch.float64)).requires_grad_()
    signs = [[1, -1], [1, 0], [-1, 1], [1, 1]]

    def loss(values):
        return pair_losses(answers(values, reference, signs), 0.7, spec(kind)).sum(0)

    assert torch.autograd.gradcheck(loss, policy, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", list(LossType))
def test_a_sign_of_minus_one_turns_the_pair_round_and_zero_is_no_opinion(kind):
    torch.manual_seed(2)
    reference = -10 * torch.rand(5, 2, dtype=torch.float64)
    policy, tokens = reference + torch.randn(5, 2, dtype=torch.float64), torch.randint(1, 9, (5, 2))
    turned = pair_losses(answers(policy, reference, -torch.ones(5, 1), tokens), 0.4, spec(kind))
    swapped = pair_losses(
        answers(policy.flip(1), reference.flip(1), torch.ones(5, 1), tokens.flip(1)), 0.4, spec(kind)
    )
    assert torch.equal(turned, swapped)
    silent = pair_losses(answers(policy, reference, torch.zeros(5, 1), tokens), 0.4, spec(kind))
    assert not silent.any()


@given(
    st.permutations(range(3)), st.sampled_from([kind for kind in LossType if kind not in SORTED]), st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_permuting_objectives_permutes_the_losses(order, kind, seed):
    chance = torch.Generator().manual_seed(seed)
    policy, reference = (-9 * torch.rand(6, 2, dtype=torch.float64, generator=chance) for _ in range(2))
    signs = torch.randint(-1, 2, (6, 3), generator=chance).double()
    first = pair_losses(answers(policy, reference, signs), 0.3, spec(kind))
    second = pair_losses(answers(policy, reference, signs[:, order]), 0.3, spec(kind))
    assert torch.equal(first[:, order], second)


def test_exo_is_least_where_the_margin_is_the_log_odds_of_its_target():
    """Check 15: ε = 0.001 gives 6.907."""
    margins = torch.linspace(6, 8, 20_001, dtype=torch.float64)
    policy = torch.stack([margins, torch.zeros_like(margins)], 1)
    losses = pair_losses(
        answers(policy, torch.zeros_like(policy)), 1.0, PairLoss(type="EXOPair", label_smoothing=1e-3)
    )
    assert float(margins[losses[:, 0].argmin()]) == pytest.approx(6.907, abs=1e-3)
