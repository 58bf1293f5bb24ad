"""Directions that what was learned before occupies, and updates without them (OrthAlign, arXiv 2509.24610).

ΔW = BA of the earlier stages has a singular value decomposition UΣVᵀ. A later stage whose B has no part in the columns of U
writes into other outputs of each layer: Uᵀ B' A' = 0. The source keeps the last 80 % of the left singular vectors, which gives
up directions that nothing has used; we leave alone those that carry a share of Σ², all of them by default.
"""

import re
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from mora_jobs.align.adapters import adapter_folder
from mora_jobs.align.soup import combine, low_rank_updates
from mora_jobs.align.task import Task
from mora_jobs.api.methods import OrthAlignSettings

TRAINED_B = re.compile(r"(.+)\.lora_B\.default\.weight")
ROUNDING = 1e-6
"""Singular values below this share of the largest are rounding errors."""


def protected_directions(task: Task) -> dict[str, Tensor]:
    """By adapted module, an orthonormal basis [out, n] of what the protected adapters of a training write to."""
    share = (task.method.orth_align or OrthAlignSettings()).protected_share
    with tempfile.TemporaryDirectory(prefix="mora-protected-") as scratch:
        folder = Path(scratch) / "sum"
        combine([(adapter_folder(uri), 1.0) for uri in task.protected], folder)
        return {name: directions(b, a, share) for name, (b, a) in low_rank_updates(folder).items()}


def directions(b: Tensor, a: Tensor, share: float) -> Tensor:
    """[out, n] the left singular vectors of B [out, r] A [r, in] with the largest singular values, until Σ² reaches `share`.

    By the QR decompositions of B and Aᵀ: the matrix itself, out × in, is never made.
    """
    left, upper = torch.linalg.qr(b.double())
    right = torch.linalg.qr(a.double().T)[1]
    vectors, values, _ = torch.linalg.svd(upper @ right.T)
    known = values > ROUNDING * values.max().clamp(min=torch.finfo(torch.float64).tiny)
    energy = values.square().cumsum(0) / values.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    enough = int((energy < share - ROUNDING).sum()) + 1
    return (left @ vectors)[:, : min(enough, int(known.sum()))]


def without(factor: Tensor, basis: Tensor) -> Tensor:
    """B − U Uᵀ B, of B [out, r] and an orthonormal U [out, n]; in double precision, rounded once."""
    wide = factor.double()
    return (wide - basis @ (basis.T @ wide)).to(factor.dtype)


def trained_module(parameter: str) -> str | None:
    """The module, as adapter files name it, whose factor B a parameter is; None for any other parameter."""
    found = TRAINED_B.fullmatch(parameter)
    return found[1] if found else None
