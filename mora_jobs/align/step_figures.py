"""What is logged of the steps of a training: each objective's loss and accuracy, and how the objectives were weighed."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mora_jobs.align.methods import Answers


class StepFigures:
    """Sums between two log lines, of this worker; `totals` may be added over workers, and `named` reads the sum."""

    def __init__(self, objectives: tuple[str, ...]) -> None:
        self.objectives = objectives
        self._size = "margin"
        # rows: loss, pairs, right, coefficients, left out; last column: margins, batches, tokens, places, steps
        self._sums = torch.zeros(5, len(objectives) + 1, dtype=torch.float64)
        self._gram = torch.zeros(4, dtype=torch.float64)  # descent, steps with one; cosine, steps with one

    def add_batch(self, losses: Tensor, answers: Answers, attention: Tensor) -> None:
        """A micro-batch: losses [B, K], the answers, and the attention mask [B·R, T]."""
        spoken = answers.signs != 0
        margins = answers.ratio.detach().diff(dim=1).neg()[:, :1] if answers.ratio.shape[1] == 2 else None
        right = (answers.signs * margins > 0).sum(0) if margins is not None else torch.zeros(len(self.objectives))
        size = answers.ratio.detach().abs().mean() if margins is None else margins.abs().mean()
        self._size = "log_ratio" if margins is None else "margin"
        for row, values in enumerate(((losses * spoken).sum(0), spoken.sum(0), right)):
            self._sums[row, :-1] += values.double().cpu()
        column = (size, torch.ones(()), attention.sum(), torch.tensor(attention.numel()))
        self._sums[:4, -1] += torch.stack([each.double().cpu() for each in column])

    def add_step(
        self,
        coefficients: NDArray[np.float64],
        gram: NDArray[np.float64] | None,
        left_out: NDArray[np.bool_],
    ) -> None:
        """A step: its coefficients [K], the Gram matrix where there is one, and objectives that were not finite [K]."""
        self._sums[3, :-1] += torch.from_numpy(coefficients)
        self._sums[4, :-1] += torch.from_numpy(left_out)
        self._sums[4, -1] += 1
        if gram is not None and coefficients.any():
            self._gram[:2] += torch.tensor([_least_descent(coefficients, gram), 1.0])

    def add_control(self, cosine: float) -> None:
        """A step by gram Margin whose cosine with the step by the exact gradients was looked at."""
        self._gram[2:] += torch.tensor([cosine, 1.0])

    def totals(self) -> Tensor:
        return torch.cat([self._sums.flatten(), self._gram]).float()

    def named(self, totals: Tensor) -> dict[str, float]:
        sums, gram = totals[:-4].view_as(self._sums).tolist(), totals[-4:].tolist()
        batches, steps = sums[1][-1], sums[4][-1]
        if not batches:
            return {}
        figures = {self._size: sums[0][-1] / batches, "padding": 1 - sums[2][-1] / sums[3][-1]}
        for index, name in enumerate(self.objectives):
            loss, pairs, right, coefficient, left_out = (row[index] for row in sums)
            if steps:
                figures[f"coefficient/{name}"] = coefficient / steps
            if pairs:
                figures[f"loss/{name}"] = loss / pairs
                if self._size == "margin":
                    figures[f"accuracy/{name}"] = right / pairs
            if left_out:
                # Its loss or its gradient is no number, and a log of numbers cannot hold it.
                figures[f"left_out/{name}"] = left_out / steps
                figures.pop(f"loss/{name}", None)
        for name, total, count in (("descent", *gram[:2]), ("gram_cosine", *gram[2:])):
            if count:
                figures[name] = total / count
        return figures


def _least_descent(coefficients: NDArray[np.float64], gram: NDArray[np.float64]) -> float:
    """min_k cos(d, ∇L_k): below 0 the step lets an objective rise, to first order."""
    squares = np.diag(gram)
    moving = squares > 0
    length = np.sqrt(max(coefficients @ gram @ coefficients, 0.0))
    if not length or not moving.any():
        return 0.0
    return float(((gram @ coefficients)[moving] / (np.sqrt(squares[moving]) * length)).min())
