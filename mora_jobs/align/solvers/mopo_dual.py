"""MOPO's dual variables, solved on pools of candidates (Agnihotri et al., arXiv 2505.10892).

    max_π  R_p(π) − τ KL(π ‖ π_ref)    subject to   R_q(π) ≥ b,      R the mean win rates over prompts.

For multipliers λ ≥ 0 the maximiser is π_λ(y|x) = π_ref(y|x) exp((p̄ + λᵀq̄)/τ) / Z_λ(x), and λ minimises the convex
g(λ) = E_x[τ log Z_λ(x)] − λᵀb, whose gradient is R_q(π_λ) − b.

Where we depart from the paper, or read what it leaves open:

- Eq. 3 as printed has no Z. It is not a policy (its mass is 1442 in the test's toy), and a multiplier that follows it never
  sees a violated bound. Z belongs to each prompt; one for all would move mass to easy prompts.
- A pool is finite, so λ is solved for on all of it instead of being followed step by step on batches.
- Robust constraint (their Problem 5): R_q is replaced by min E_Q[ρ q̄] over Q with KL(Q ‖ P) ≤ ε, where P is the empirical
  distribution of prompts times π_ref, so Q is one distribution over all (prompt, candidate). The policy keeps the form π_λ,
  as in their Algorithm 1, and λ is a solution of λ ≥ 0, G(π_λ) ≥ b, λᵀ(G(π_λ) − b) = 0.

ε is in nats for the whole of the data, and costs much: a tilted policy loses some √(2ε Var[ρ q̄]). An ε of 0.15 with bounds
near ½ is infeasible from the start on small pools, and G falls again where λ grows too large, because ρ becomes one-hot.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, sparse  # type: ignore[import-untyped]
from scipy.special import rel_entr  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
CAP = 1000.0
"""Largest multiplier. At temperature 0.08 a policy is a choice of the best candidates long before."""
UNMET = 1e-6
"""A bound that is missed by more than this win rate is not met."""


@dataclass(frozen=True, eq=False)
class Pools:
    """The N candidates of P prompts, prompt after prompt. ValueError when shapes, order or probabilities are wrong."""

    prompt: NDArray[np.intp]
    """[N] index of the prompt of each candidate: sorted, 0 … P − 1, none left out."""
    primary: Floats
    """[N] win rates p̄ against the behaviour policy."""
    secondary: Floats
    """[N, J] win rates q̄ of the J constrained objectives. J = 0 leaves policy optimisation with one objective."""
    reference: Floats
    """[N] probabilities of the candidates of a prompt under the reference policy; they sum to 1 for each prompt."""

    def __post_init__(self) -> None:
        rows = len(self.prompt)
        shapes = [self.primary.shape, self.reference.shape, self.secondary.shape[:1]]
        if rows == 0 or self.secondary.ndim != 2 or shapes != [(rows,)] * 3:
            raise ValueError(f"pools of {rows} candidates need win rates [N] and [N, J] and probabilities [N]")
        if self.prompt[0] != 0 or not np.isin(np.diff(self.prompt), (0, 1)).all():
            raise ValueError("the prompts of pools are numbered from 0 and sorted")
        if not (np.isfinite(self.primary).all() and np.isfinite(self.secondary).all()):
            raise ValueError("pools need every win rate")
        if not (self.reference >= 0).all() or not np.allclose(self.sums(self.reference), 1, rtol=0, atol=1e-6):
            raise ValueError("the reference probabilities of each prompt must be ≥ 0 and sum to 1")

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """[P] the first row of each prompt."""
        return np.flatnonzero(np.diff(self.prompt, prepend=-1))

    @cached_property
    def log_reference(self) -> Floats:
        """[N], −∞ where the reference never goes."""
        with np.errstate(divide="ignore"):
            return np.log(self.reference)

    def sums(self, values: Floats) -> Floats:
        """[P, …] from [N, …]."""
        totals: Floats = np.add.reduceat(values, self.starts, axis=0)
        return totals

    def largest(self, values: Floats) -> Floats:
        """[P, …] from [N, …], over the candidates that the reference can draw."""
        reachable = np.where((self.reference > 0).reshape(-1, *[1] * (values.ndim - 1)), values, -np.inf)
        tops: Floats = np.maximum.reduceat(reachable, self.starts, axis=0)
        return tops


def tilted(pools: Pools, multipliers: ArrayLike, temperature: float) -> Floats:
    """[N] π_λ: the reference tilted by exp((p̄ + λᵀq̄)/τ), normalised within each prompt."""
    return _tilt(pools, np.asarray(multipliers, dtype=np.float64), temperature)[0]


def dual_objective(pools: Pools, bounds: ArrayLike, multipliers: ArrayLike, temperature: float) -> float:
    """g(λ) = E_x[τ log Z_λ(x)] − λᵀb: no policy that keeps to the bounds has a higher objective."""
    weights = np.asarray(multipliers, dtype=np.float64)
    return float(temperature * _tilt(pools, weights, temperature)[1].mean() - weights @ np.asarray(bounds))


def _tilt(pools: Pools, multipliers: Floats, temperature: float) -> tuple[Floats, Floats]:
    """π_λ [N] and log Z_λ [P]."""
    logits = pools.log_reference + (pools.primary + pools.secondary @ multipliers) / temperature
    tops = pools.largest(logits)
    weights = np.exp(logits - tops[pools.prompt])
    totals = pools.sums(weights)
    return weights / totals[pools.prompt], tops + np.log(totals)


def rates(pools: Pools, policy: Floats) -> tuple[float, Floats]:
    """R_p and R_q [J] of a policy [N]: its win rates against the behaviour policy, means over prompts."""
    prompts = len(pools.starts)
    return float(policy @ pools.primary) / prompts, policy @ pools.secondary / prompts


def divergence(pools: Pools, policy: Floats) -> float:
    """KL(policy ‖ reference) in nats, the mean over prompts."""
    return float(rel_entr(policy, pools.reference).sum()) / len(pools.starts)


def effective_sample_sizes(pools: Pools, policy: Floats) -> Floats:
    """[P] (Σ w)² / Σ w² (Kish) of the weights w = π_ref ρ = policy that weighted cloning gives a prompt's candidates.

    Between 1 (one candidate is cloned) and their number. With a uniform reference this is the paper's (Σρ)² / Σρ².
    """
    return pools.sums(policy) ** 2 / pools.sums(policy**2)


class Worst(NamedTuple):
    """The least expectation within a KL ball."""

    value: float
    robustness: float
    """χ: infinite for ε = 0, 0 where the ball holds the distribution that sits on the smallest values."""
    density: Floats
    """[N] of the worst Q with respect to P."""


def robust_value(ratio: Floats, value: Floats, reference: Floats, epsilon: float) -> Worst:
    """min E_Q[ρ q̄] over Q with KL(Q ‖ P) ≤ ε  =  max_{χ>0} −χ log E_P exp(−ρ q̄/χ) − χ ε, with Q* ∝ P exp(−ρ q̄/χ*).

    ratio ρ, value q̄, reference: [N]. P is the reference divided by its sum, so probabilities within each of several
    prompts make P the joint distribution of prompt and candidate. ε in nats, ≥ 0.
    """
    base = reference / reference.sum()
    product = np.where(base > 0, ratio * value, np.inf)
    least, most = float(product.min()), float(product[base > 0].max())
    if epsilon <= 0 or most == least:
        return Worst(float(base @ np.where(base > 0, product, 0)), np.inf, np.ones_like(base))
    span = most - least

    def weighed(chi: float) -> tuple[Floats, float]:
        weights = np.exp((least - product) / chi)
        return weights, float(base @ weights)

    def negative(log_chi: float) -> float:
        chi = span * np.exp(log_chi)
        return float(chi * (np.log(weighed(chi)[1]) + epsilon) - least)

    # χ* ≤ span / √(8 ε), because KL(Q_χ ‖ P) ≤ span² / (8 χ²); below 1e-6 of the span the value is the least one
    found = optimize.minimize_scalar(
        negative, bounds=(np.log(1e-6), max(0.0, -np.log(8 * epsilon) / 2)), method="bounded", options={"xatol": 1e-5}
    )
    chi = span * float(np.exp(found.x))
    weights, total = weighed(chi)
    if -found.fun <= least:
        return Worst(least, 0.0, weights / total)
    return Worst(-float(found.fun), chi, weights / total)


def robust_values(pools: Pools, policy: Floats, epsilon: float) -> list[Worst]:
    """Of each of the J constraints."""
    ratio = np.divide(policy, pools.reference, out=np.zeros_like(policy), where=pools.reference > 0)
    return [robust_value(ratio, column, pools.reference, epsilon) for column in pools.secondary.T]


def robust_slopes(pools: Pools, policy: Floats, worst: list[Worst], temperature: float) -> Floats:
    """[J, J] ∂G_j/∂λ_k at π_λ = E_Q[q̄_j ∂ρ/∂λ_k], Q the worst for G_j: since Q is optimal, it may be held (Danskin)."""
    mean = pools.sums(policy[:, None] * pools.secondary)
    change = policy[:, None] * (pools.secondary - mean[pools.prompt]) / (temperature * len(pools.starts))
    slopes: Floats = (np.stack([each.density for each in worst]) * pools.secondary.T) @ change
    return slopes


@dataclass(frozen=True, eq=False)
class Dual:
    """Multipliers with the policy that they make, π_λ, measured on the pools."""

    multipliers: Floats
    """[J] λ ≥ 0."""
    policy: Floats
    """[N] π_λ."""
    bounds: Floats
    """[J] b."""
    primary: float
    """R_p."""
    secondary: Floats
    """[J] R_q."""
    robust: Floats
    """[J] what is held against the bounds: R_q for ε = 0, else its least value within the KL ball."""
    robustness: Floats
    """[J] χ, infinite for ε = 0."""
    divergence: float
    """KL(π_λ ‖ π_ref), mean over prompts, nats."""
    objective: float
    """Primal: R_p − τ KL."""
    dual: float
    """g(λ). Equal to the objective where ε = 0 and the bounds are met; for ε > 0 an upper bound that is not tight."""
    iterations: int
    """Evaluations of the constraints."""
    capped: bool
    """A multiplier stands at the cap."""
    unmet: tuple[int, ...]
    """Indices of the bounds that stay missed: infeasible, by themselves or together, or with this ε."""


def solve(pools: Pools, bounds: ArrayLike, temperature: float, epsilon: float = 0.0, cap: float = CAP) -> Dual:
    """λ for the bounds [J] on the whole of the pools; ValueError for a wrong number of bounds, temperature or ε.

    ε = 0 minimises g over 0 ≤ λ ≤ cap; what no policy meets ends at the cap. ε > 0 starts there, unless it is the cap, and
    solves the conditions of the robust constraints; where that fails, λ is where they are violated least. Read `unmet`.
    """
    wanted = np.asarray(bounds, dtype=np.float64)
    if wanted.shape != (pools.secondary.shape[1],):
        raise ValueError(f"{pools.secondary.shape[1]} secondary objectives need as many bounds, not {wanted.size}")
    if not np.isfinite(wanted).all():
        raise ValueError("bounds must be finite")
    if not temperature > 0 or not epsilon >= 0 or not cap > 0:
        raise ValueError("the temperature and the cap must be positive, and the robustness not negative")
    multipliers, iterations, minimal = _minimise(pools, wanted, temperature, cap)
    if (epsilon > 0 or not minimal) and (multipliers < cap).all():
        multipliers, more = _complementary(pools, wanted, temperature, epsilon, cap, multipliers)
        iterations += more
    policy = tilted(pools, multipliers, temperature)
    primary, secondary = rates(pools, policy)
    worst = robust_values(pools, policy, epsilon)
    robust = np.array([each.value for each in worst])
    kl = divergence(pools, policy)
    return Dual(
        multipliers,
        policy,
        wanted,
        primary,
        secondary,
        robust,
        np.array([each.robustness for each in worst]),
        kl,
        primary - temperature * kl,
        dual_objective(pools, wanted, multipliers, temperature),
        iterations,
        bool((multipliers >= cap).any()),
        tuple(int(index) for index in np.flatnonzero(robust < wanted - UNMET)),
    )


def _minimise(pools: Pools, bounds: Floats, temperature: float, cap: float) -> tuple[Floats, int, bool]:
    """The minimum of g in the box, evaluations, and whether the gradient vanishes: line searches give up on sharp tilts."""
    if bounds.size == 0:
        return bounds, 0, True

    def g(multipliers: Floats) -> tuple[float, Floats]:
        policy, log_z = _tilt(pools, multipliers, temperature)
        return float(temperature * log_z.mean() - multipliers @ bounds), rates(pools, policy)[1] - bounds

    found = optimize.minimize(
        g,
        np.zeros_like(bounds),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, cap)] * bounds.size,
        options={"ftol": 0.0, "gtol": 1e-10, "maxiter": 500},
    )
    step = np.clip(found.x - found.jac, 0, cap) - found.x
    return np.asarray(found.x), int(found.nfev), bool(np.abs(step).max() < 1e-9)


def _complementary(
    pools: Pools, bounds: Floats, temperature: float, epsilon: float, cap: float, start: Floats
) -> tuple[Floats, int]:
    """λ ≥ 0, s = G − b ≥ 0, λᵀs = 0, and evaluations: least squares on Fischer–Burmeister's √(λ² + s²) − λ − s.

    For ε = 0 these are the conditions of the minimum of g, and the slopes its Hessian.
    """

    @lru_cache(maxsize=2)  # the solver asks for the derivative where it has just asked for the value
    def at(point: tuple[float, ...]) -> tuple[Floats, Floats]:
        policy = tilted(pools, point, temperature)
        worst = robust_values(pools, policy, epsilon)
        return np.array([each.value for each in worst]) - bounds, robust_slopes(pools, policy, worst, temperature)

    def residual(point: Floats) -> Floats:
        slack = at(tuple(point))[0]
        return np.asarray(np.hypot(point, slack) - point - slack)

    def jacobian(point: Floats) -> Floats:
        slack, derivative = at(tuple(point))
        length = np.maximum(np.hypot(point, slack), 1e-300)
        rows: Floats = np.diag(point / length - 1) + (slack / length - 1)[:, None] * derivative
        return rows

    # a solution has no negative λ; on the way they are allowed, because steps along the edge of a box are too short
    found = optimize.least_squares(
        residual, start, jacobian, bounds=(-cap, cap), xtol=1e-10, ftol=1e-8, gtol=1e-12, max_nfev=100
    )
    return np.maximum(found.x, 0), int(found.nfev)


@dataclass(frozen=True)
class Infeasible:
    """A bound that no policy meets, or bounds that none meets together. Measured as R_q; a robust value is lower still."""

    index: int | None
    """Of the bound; None where each can be met but not all by one policy."""
    reachable: float | None
    """The largest rate that any policy reaches, E_x max_y q̄_j; None for bounds together."""
    shortfall: float
    """Win rate by which the bound is missed at least; of bounds together, by which every policy misses one of them."""


def infeasible(pools: Pools, bounds: ArrayLike) -> list[Infeasible]:
    """What of the bounds [J] no policy over these candidates can meet; empty where training may start."""
    wanted = np.asarray(bounds, dtype=np.float64)
    reachable = pools.largest(pools.secondary).mean(axis=0)
    faults = [
        Infeasible(index, float(most), float(bound - most))
        for index, (most, bound) in enumerate(zip(reachable, wanted, strict=True))
        if bound - most > UNMET
    ]
    if faults or wanted.size < 2:
        return faults
    shortfall = -_best_margin(pools, wanted)
    return [Infeasible(None, None, shortfall)] if shortfall > UNMET else []


def _best_margin(pools: Pools, bounds: Floats) -> float:
    """max_π min_j (R_q,j − b_j) = min over λ in the simplex of E_x max_y λᵀ(q̄ − b), as a linear program.

    Variables: t_x ≥ λᵀ(q̄(x, y) − b) of each prompt, then λ. Interior points with crossover: exact, and 20 times faster here
    than the simplex method.
    """
    prompts, objectives = len(pools.starts), len(bounds)
    rows = pools.reference > 0
    prompt = pools.prompt[rows]
    belongs = sparse.csr_array((np.ones(len(prompt)), (np.arange(len(prompt)), prompt)), shape=(len(prompt), prompts))
    found = optimize.linprog(
        np.concatenate([np.full(prompts, 1 / prompts), np.zeros(objectives)]),
        A_ub=sparse.hstack([-belongs, sparse.csr_array(pools.secondary[rows] - bounds)], format="csr"),
        b_ub=np.zeros(len(prompt)),
        A_eq=np.concatenate([np.zeros(prompts), np.ones(objectives)])[None],
        b_eq=[1.0],
        bounds=[(None, None)] * prompts + [(0, None)] * objectives,
        method="highs-ipm",
    )
    if found.status != 0:
        raise RuntimeError(f"the linear program of joint feasibility was not solved: {found.message}")
    return float(found.fun)


def ratchet(reached: ArrayLike, relaxation: float) -> Floats:
    """The next bounds b = β ⊙ G (Algorithm 1): never fall below β times what the lagged policy has reached.

    reached: [J] that policy's secondary win rates, or their robust values where ε > 0: β's slack is far below what ε costs.
    relaxation: β in (0, 1], else ValueError.
    """
    if not 0 < relaxation <= 1:
        raise ValueError(f"the relaxation of a ratchet lies in (0, 1], not {relaxation:g}")
    return relaxation * np.asarray(reached, dtype=np.float64)
