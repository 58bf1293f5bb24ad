"""LIRE (arXiv 2405.13516): listwise, on all candidates of a prompt, without a reference model.

    loss = −Σ_i P_i R_i,   P = softmax_i(log π(y_i|x) / T),   R = softmax_i(r_i),   r_i = Σ_k w_k u_ik

P_i moves towards the candidates with the highest weighted score. Log-probabilities are summed over tokens, as in the
authors' code: long candidates start with a small P_i. Nothing pulls the policy back to where it started.
"""

from itertools import groupby
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mora_jobs.align.methods.base import Answers, Method
from mora_jobs.align.tokens import Example
from mora_jobs.api.methods import LIRESettings
from mora_jobs.api.methods import Method as MethodSpec


class LIRE(Method):
    """One term, `listwise`: [B, 1], an example being a prompt with all its candidates."""

    uses_reference: ClassVar[bool] = False

    def __init__(self, spec: MethodSpec, objectives: tuple[str, ...], weights: tuple[float, ...]) -> None:
        super().__init__(("listwise",), (1.0,))
        self.settings = spec.lire or LIRESettings()
        self._objective_weights = np.asarray(weights)

    def prepare(self, examples: list[Example]) -> list[Example]:
        """One example for each prompt. One with fewer candidates than another is filled up with empty responses."""
        prompts = [self._listed(list(own)) for _, own in groupby(examples, key=lambda example: example.group)]
        width = max(len(example.responses) for example in prompts)
        rewards = torch.full((len(prompts), width), -torch.inf, dtype=torch.float64)
        for row, example in enumerate(prompts):
            count = len(example.responses)
            rewards[row, :count] = torch.from_numpy(np.asarray(example.scores) @ self._objective_weights)
            example.responses = example.responses + [[]] * (width - count)
            example.reference = (0.0,) * width
        self._rewards = rewards.softmax(dim=1)
        return prompts

    def losses(self, answers: Answers) -> Tensor:
        assert answers.index is not None
        there = answers.tokens > 0
        policy = (answers.policy / self.settings.temperature).masked_fill(~there, -torch.inf).softmax(dim=1)
        return -(policy * self._rewards[answers.index.cpu()].to(policy)).sum(dim=1, keepdim=True)

    def _listed(self, own: list[Example]) -> Example:
        """The candidates of a prompt, at most as many as wanted, evenly over their ranking."""
        order = np.argsort([np.asarray(each.scores[0]) @ self._objective_weights for each in own], kind="stable")
        count = min(self.settings.candidates, len(own))
        kept = sorted(order[np.linspace(0, len(own) - 1, count).round().astype(int)].tolist())
        return Example(
            own[0].group,
            own[0].prompt,
            [own[index].responses[0] for index in kept],
            (1,),
            scores=tuple(own[index].scores[0] for index in kept),
        )
