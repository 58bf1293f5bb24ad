"""The losses of TRL's DPOTrainer (1.16) by name, for one objective on the n pairs that it has an opinion about.

Notation: h⁺, h⁻ [n] log π/π_ref of the better and the worse response in nats, h = h⁺ − h⁻, |y| its tokens, σ the logistic
function, ε label smoothing. AOT and AOTUnpaired sort over the pairs of a micro-batch, and SFT is a mean over its tokens:
how pairs are cut into micro-batches decides a little of these three.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mora_jobs.align.methods.base import Answers
from mora_jobs.api.methods import LossType, PairLoss


@dataclass(frozen=True)
class Side:
    """The better or the worse responses of n pairs."""

    policy: Tensor
    reference: Tensor
    tokens: Tensor

    @property
    def ratio(self) -> Tensor:
        return self.policy - self.reference

    @property
    def mean_ratio(self) -> Tensor:
        """Nats per token."""
        return self.ratio / self.tokens.clamp(min=1)


Loss = Callable[[Side, Side, float, PairLoss], Tensor]


def pair_losses(answers: Answers, beta: float, spec: PairLoss) -> Tensor:
    """[B, K] the loss `spec` of every pair for every objective; 0 where an objective has no opinion.

    A sign of −1 turns the pair round: the objective's better response is the second one.
    """
    loss = LOSSES[spec.type]
    columns = []
    for sign in answers.signs.T:
        own = sign != 0
        first, second = _side(answers, 0, own), _side(answers, 1, own)
        turned = sign[own] < 0
        values = loss(_choose(turned, second, first), _choose(turned, first, second), beta, spec)
        columns.append(torch.zeros_like(answers.policy[:, 0]).masked_scatter(own, values))
    return torch.stack(columns, dim=1)


def _side(answers: Answers, column: int, rows: Tensor) -> Side:
    return Side(*(each[rows, column] for each in (answers.policy, answers.reference, answers.tokens)))


def _choose(condition: Tensor, one: Side, other: Side) -> Side:
    return Side(
        torch.where(condition, one.policy, other.policy),
        torch.where(condition, one.reference, other.reference),
        torch.where(condition, one.tokens, other.tokens),
    )


def _sigmoid(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """−log σ(βh) (DPO, arXiv 2305.18290)."""
    return -logsigmoid(beta * (up.ratio - down.ratio))


def _sigmoid_norm(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """−log σ(β(h⁺/|y⁺| − h⁻/|y⁻|)) (length-normalised DPO, arXiv 2411.15124)."""
    return -logsigmoid(beta * (up.mean_ratio - down.mean_ratio))


def _hinge(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """max(0, 1 − βh) (SLiC, arXiv 2305.10425)."""
    return torch.relu(1 - beta * (up.ratio - down.ratio))


def _ipo(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """(h⁺/|y⁺| − h⁻/|y⁻| − 1/2β)² (IPO, arXiv 2310.12036 Eq. 17, with TRL's mean over tokens)."""
    return (up.mean_ratio - down.mean_ratio - 1 / (2 * beta)) ** 2


def _exo_pair(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """KL((σ(βh), σ(−βh)) ‖ (1 − ε, ε)) (EXO, arXiv 2402.00856 Eq. 16); least where βh = log((1 − ε)/ε)."""
    logit = beta * (up.ratio - down.ratio)
    epsilon = torch.tensor(spec.label_smoothing, dtype=logit.dtype, device=logit.device)
    better = logit.sigmoid() * (logsigmoid(logit) - torch.log1p(-epsilon))
    return better + (-logit).sigmoid() * (logsigmoid(-logit) - epsilon.log())


def _nca_pair(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """−log σ(βh⁺) − ½ log σ(−βh⁺) − ½ log σ(−βh⁻) (NCA, arXiv 2402.05369)."""
    return -logsigmoid(beta * up.ratio) - 0.5 * logsigmoid(-beta * up.ratio) - 0.5 * logsigmoid(-beta * down.ratio)


def _robust(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """(−(1 − ε) log σ(βh) + ε log σ(−βh)) / (1 − 2ε) (robust DPO, arXiv 2403.00409)."""
    logit, epsilon = beta * (up.ratio - down.ratio), spec.label_smoothing
    return (-(1 - epsilon) * logsigmoid(logit) + epsilon * logsigmoid(-logit)) / (1 - 2 * epsilon)


def _bco_pair(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """−log σ(βh⁺) − log σ(−βh⁻) (BCO, arXiv 2404.04656, without the running mean, as TRL)."""
    return -logsigmoid(beta * up.ratio) - logsigmoid(-beta * down.ratio)


def _sppo_hard(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """(h⁺ − 1/2β)² + (h⁻ + 1/2β)² (SPPO, arXiv 2405.00675 Eq. 4.7 with hard labels)."""
    return (up.ratio - 0.5 / beta) ** 2 + (down.ratio + 0.5 / beta) ** 2


def _aot(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """The logistic loss between sorted margins of the policy and of the reference (AOT, arXiv 2406.05882, paired)."""
    return _smoothed((up.policy - down.policy).sort()[0] - (up.reference - down.reference).sort()[0], beta, spec)


def _aot_unpaired(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """The logistic loss between sorted h⁺ and sorted h⁻ (AOT, arXiv 2406.05882, unpaired)."""
    return _smoothed(up.ratio.sort()[0] - down.ratio.sort()[0], beta, spec)


def _smoothed(delta: Tensor, beta: float, spec: PairLoss) -> Tensor:
    epsilon = spec.label_smoothing
    return -(1 - epsilon) * logsigmoid(beta * delta) - epsilon * logsigmoid(-beta * delta)


def _apo_zero(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """1 − σ(βh⁺) + σ(βh⁻) (APO, arXiv 2408.06266 Eq. 7): for responses better than the model's own."""
    return 1 - (beta * up.ratio).sigmoid() + (beta * down.ratio).sigmoid()


def _apo_down(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """σ(βh⁺) + 1 − σ(βh) (APO, arXiv 2408.06266 Eq. 8): for responses worse than the model's own."""
    return (beta * up.ratio).sigmoid() + 1 - (beta * (up.ratio - down.ratio)).sigmoid()


def _discopop(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """(1 − m)·(−log σ(βh)) + m·exp(−βh), m = σ(βh/modulation) (DiscoPOP, arXiv 2406.08414 Eq. 5)."""
    logit = beta * (up.ratio - down.ratio)
    mix = (logit / spec.modulation).sigmoid()
    return -(1 - mix) * logsigmoid(logit) + mix * (-logit).exp()


def _sft(up: Side, down: Side, beta: float, spec: PairLoss) -> Tensor:
    """Mean of −log π over the tokens of the better responses: the same number for every pair."""
    return (-up.policy.sum() / up.tokens.sum().clamp(min=1)).expand(len(up.policy))


LOSSES: dict[LossType, Loss] = {
    LossType.SIGMOID: _sigmoid,
    LossType.SIGMOID_NORM: _sigmoid_norm,
    LossType.HINGE: _hinge,
    LossType.IPO: _ipo,
    LossType.EXO_PAIR: _exo_pair,
    LossType.NCA_PAIR: _nca_pair,
    LossType.ROBUST: _robust,
    LossType.BCO_PAIR: _bco_pair,
    LossType.SPPO_HARD: _sppo_hard,
    LossType.AOT: _aot,
    LossType.AOT_UNPAIRED: _aot_unpaired,
    LossType.APO_ZERO: _apo_zero,
    LossType.APO_DOWN: _apo_down,
    LossType.DISCOPOP: _discopop,
    LossType.SFT: _sft,
}
