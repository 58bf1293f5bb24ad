"""GroupDRO (arXiv 1911.08731, Algorithm 1) with objectives as groups: the worst loss counts most.

    q_k ← q_k exp(η L_k) / Σ_j q_j exp(η L_j),      d = Σ_k q_k g_k,      q_k = w_k at the start

No inner products are needed: one backward pass. Our reading: all objectives with pairs in the step are updated at once,
with their mean losses, where the source samples one group at a time.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from mora_jobs.align.methods.base import Bools, Floats, Needs
from mora_jobs.align.methods.pairwise import Pairwise
from mora_jobs.api.methods import GroupDROSettings
from mora_jobs.api.methods import Method as MethodSpec


class GroupDRO(Pairwise):
    needs: ClassVar[Needs] = Needs.LOSSES

    def __init__(self, spec: MethodSpec, objectives: tuple[str, ...], weights: tuple[float, ...]) -> None:
        super().__init__(spec, objectives, weights)
        self.step_size = (spec.group_dro or GroupDROSettings()).step_size
        self._log_q = np.log(self.weights)  # in logarithms: q of an easy objective may become smaller than any float

    def coefficients(self, losses: Floats, gram: Floats | None, present: Bools) -> Floats:
        log_q = self._log_q + np.where(present, self.step_size * losses, 0.0)
        self._log_q = log_q - np.logaddexp.reduce(log_q)
        q = np.where(present, np.exp(self._log_q), 0.0)
        return np.asarray(q / q.sum())

    def state(self) -> Mapping[str, Floats]:
        return {"log_q": self._log_q}

    def restore(self, state: Mapping[str, Floats]) -> None:
        self._log_q = state["log_q"]
