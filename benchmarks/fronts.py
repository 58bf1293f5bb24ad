"""What of a known Pareto front each method finds.  Needs numpy, scipy, moocore, torch; with --plot matplotlib.

    python benchmarks/fronts.py [--quick] [--plot docs/pictures/fronts.svg]

The methods are the project's own objects: they give the coefficients, and plain gradient steps of constant length follow
them. Fronts of two losses (known_fronts/problems.py) are looked for from 42 starts, with 21 weights or bounds; policies
(known_fronts/policies.py) begin at the reference, with 11. `bound` is MOPO's idea on any loss: the first loss is minimised
while the second keeps to a bound.
"""

import argparse
import time
from collections.abc import Mapping, Sequence

import numpy as np
from known_fronts.descent import BY_THEMSELVES, BY_WEIGHTS
from known_fronts.front import COVERED, ON, Found
from known_fronts.picture import draw
from known_fronts.policies import FREE, TEMPERATURE, Structure, structures
from known_fronts.problems import problems
from known_fronts.searches import judged, on_losses, on_policies

LABELS = {"DPO": "weighted sum (DPO, WeightGrid)"}


def markdown(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = ["| " + " | ".join([corner, *columns]) + " |", "|---" * (1 + len(columns)) + "|"]
    lines += ["| " + " | ".join([LABELS.get(name, name), *cells]) + " |" for name, cells in rows.items()]
    return "\n".join(lines)


def compared(found: Mapping[str, Mapping[str, Found]]) -> str:
    """By front, then by method."""
    methods = list(next(iter(found.values())))
    rows = {name: [_cell(of_front[name]) for of_front in found.values()] for name in methods}
    return markdown("method", list(found), rows)


def _cell(found: Found) -> str:
    notes = [f"{found.moving} moving"] if found.moving else []
    if found.at_bound is not None:
        notes.append(f"{found.at_bound} at the bound")
    noted = f" ({', '.join(notes)})" if notes else ""
    return f"{found.on.sum()} of {len(found.on)}{noted} · {100 * found.coverage:.0f} % · {100 * found.volume:.1f} %"


def ends(all_structures: Sequence[Structure], steps: int) -> str:
    """Where one training with even weights ends: win rates of both objectives, and KL."""
    trained = [on_policies(structure, steps, 1) for structure in all_structures]
    rows = {
        name: [_end(structure, found[name][0]) for structure, found in zip(all_structures, trained, strict=True)]
        for name in (*BY_WEIGHTS, *BY_THEMSELVES, "Rewarded Soup", "mixed probabilities")
    }
    rows["MOPO, secondary ≥ 0.5"] = [_end(structure, structure.mopo(0.5)[0]) for structure in all_structures]
    return markdown("method", [structure.name for structure in all_structures], rows)


def _end(structure: Structure, policy: np.ndarray) -> str:
    first, second = structure.wins @ policy
    return f"{first:.3f}, {second:.3f}; {structure.kl(policy):.2f}"


def bounds_met(all_structures: Sequence[Structure], count: int) -> str:
    """What MOPO's bounds cost, and how far mixed probabilities are from the front."""
    rows = {}
    for structure in all_structures:
        solved = [structure.mopo(bound)[1] for bound in structure.bounds(count)]
        first, last = solved[0], solved[-1]
        missed = max(float(abs(each.secondary - each.bounds)[0]) for each in solved if each.multipliers[0] > 0)
        mixed = max(structure.excess(structure.mixture((w, 1 - w))) for w in np.linspace(0, 1, count))
        rows[structure.name] = [
            f"{first.bounds[0]:.3f} to {last.bounds[0]:.3f}",
            f"{first.multipliers[0]:.2f} to {last.multipliers[0]:.2f}",
            f"{first.divergence:.2f} to {last.divergence:.2f}",
            f"{missed:.0e}",
            f"{mixed:.2g}",
        ]
    columns = [
        "MOPO's bounds",
        "λ",
        "KL, nats",
        "worst miss of a bound that binds",
        "mixed probabilities: nats of KL too much, up to",
    ]
    return markdown("structure", columns, rows)


def main(quick: bool, plot: str | None) -> None:
    began = time.monotonic()
    weights, starts, steps, points, updates = (3, 6, 150, 3, 300) if quick else (21, 42, 1000, 11, 2000)
    of_losses = problems(starts, steps)
    print(
        f"Points on the front (nearer than {ON}) of all runs · share of its length within {COVERED} of those · share of its"
    )
    print("hypervolume against its nadir. Distances are in the front's ranges.\n")
    found = {problem.name: on_losses(problem, weights) for problem in of_losses}
    print(compared(found))

    policies = structures()
    print(
        f"\nPolicies, τ = {TEMPERATURE}. Policies with at most {FREE} nats more KL than their win rates need, of all · share of the front"
    )
    print("and of the hypervolume (against 0) of win rates less τ KL.\n")
    of_policies = {
        structure.name: {
            name: judged(structure, made) for name, made in on_policies(structure, updates, points).items()
        }
        for structure in policies
    }
    print(compared(of_policies))
    print("\nOne policy with even weights: win rates of the primary and the secondary objective; KL in nats.\n")
    print(ends(policies, updates))
    print()
    print(bounds_met(policies, points))
    if plot:
        draw(plot, of_losses, found, policies, of_policies)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="few starts and steps: seconds, and nothing to conclude from"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the points over the fronts, as SVG")
    arguments = parser.parse_args()
    main(arguments.quick, arguments.plot)
