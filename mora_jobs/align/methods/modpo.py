"""MODPO (arXiv 2310.03708): DPO on one objective's pairs, with the other objectives' rewards as a margin.

    loss = −log σ( (β h − Σ_{j≠k} w_j m_j) / w_k ),      h = s_k (log-ratio of the first response − that of the second)

m_j = r_j(x, better) − r_j(x, worse), better as objective k sees it. The optimum is π_ref exp(wᵀr/β)/Z, that of the weighted
reward, whichever objective is k. Rewards are the calibrated scores times `scale`, or what a DPO policy of objective j
implies: β log π_j/π_ref. Our reading: k is the primary objective if one is marked, else the one with the largest weight,
because 1/w_k makes the loss steep (the source trains all weights on one objective's pairs, from 0.1 on).

At the reference model h = 0, and the loss is log(1 + exp(Σ_{j≠k} w_j m_j / w_k)): ln 2 where the others have no opinion.
"""

import dataclasses

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mora_jobs.align.methods.base import Answers, Method
from mora_jobs.align.tokens import Example
from mora_jobs.api.methods import Margins, MODPOSettings, own_objective
from mora_jobs.api.methods import Method as MethodSpec
from mora_jobs.errors import UserError


class MODPO(Method):
    """One term, the own objective k: [B, 1]."""

    def __init__(
        self, spec: MethodSpec, objectives: tuple[str, ...], weights: tuple[float, ...], primary: str
    ) -> None:
        name = own_objective(objectives, weights, primary)
        super().__init__((name,), (1.0,))
        settings = spec.modpo or MODPOSettings()
        self.beta, self._own, self._names, self._all_weights = spec.beta, objectives.index(name), objectives, weights
        self._scale = settings.scale if settings.margins is Margins.REWARDS else 1.0

    def prepare(self, examples: list[Example]) -> list[Example]:
        """The pairs that the own objective has an opinion about, and the margin that the others want of each."""
        used = [example for example in examples if example.signs[self._own]]
        if not used:
            name = self._names[self._own]
            raise UserError(
                f"spec.objectives[{name}]", "MODPO trains on its pairs, and none is about it", "lower pairs.minGap"
            )
        others = [index for index in range(len(self._names)) if index != self._own]
        wanted = [
            example.signs[self._own]
            * sum(self._all_weights[j] * self._scale * example.margins[j] for j in others)
            / self._all_weights[self._own]
            for example in used
        ]
        self._margins = torch.tensor(wanted, dtype=torch.float64)
        return [dataclasses.replace(example, signs=(example.signs[self._own],)) for example in used]

    def losses(self, answers: Answers) -> Tensor:
        assert answers.index is not None
        h = answers.signs[:, 0] * (answers.ratio[:, 0] - answers.ratio[:, 1])
        margin = self._margins[answers.index.cpu()].to(h)
        loss = -logsigmoid(self.beta * h / self._all_weights[self._own] - margin)
        return (loss * answers.signs[:, 0].abs())[:, None]
