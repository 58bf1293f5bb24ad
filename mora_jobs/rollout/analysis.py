"""From scores to classes: what each prompt can earn, the curves over all prompts, and how sure the classes are.

Artifacts: analysis/ (a row per prompt), isolation.json (histogram and sensitivity), curves.json (means with intervals).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.api.rollout import CurvePoint, IsolationStatus
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.estimators.curves import Curves, average
from mora_jobs.estimators.diversity import normalised_hypervolume
from mora_jobs.estimators.reach import k_grid
from mora_jobs.generation.schemas import ANALYSIS
from mora_jobs.generation.scores import calibrated
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rollout.isolation import Isolation, PromptClass, Thresholds, classify
from mora_jobs.rollout.sensitivity import SubsetMeasures, sensitivity

BATCH = 1024  # prompts: bounds memory at any number of prompts


def analyse(
    store: Store, names: Sequence[str], samples: int, spec: api.Isolation, scores: Table, calibration: Calibration
) -> tuple[IsolationStatus, list[CurvePoint]]:
    """Classify every prompt and average the curves; `samples` is N, `names` the rewards in the order of the axes."""
    thresholds = Thresholds(
        spec.criterion.value,
        spec.reach_threshold,
        spec.spread_threshold,
        spec.joint_level,
        spec.joint_threshold,
        spec.plateau_tolerance,
    )
    ids: list[str] = []
    parts, curves, volumes = [], [], []
    for keys, u in _batches(scores, names, samples, calibration):
        ids += keys
        parts.append(SubsetMeasures.of(u, thresholds.joint_level))
        curves.append(Curves.of(u, thresholds.joint_level, k_grid(samples)))
        volumes.append(normalised_hypervolume(u))
    # In the order of ids: rows are committed as they finish, and a resumed run must show what an unbroken one shows.
    order = np.argsort(np.asarray(ids))
    ids = [ids[i] for i in order]
    subsets, curve = SubsetMeasures.concatenate(parts).select(order), Curves.concatenate(curves).select(order)
    isolation = classify(subsets.full, thresholds)
    histogram = isolation.histogram(names)

    _write_rows(store, names, ids, isolation, subsets, np.concatenate(volumes)[order])
    write_json(store, "isolation.json", histogram | {"sensitivity": sensitivity(subsets, thresholds, names)})
    single = isolation.is_class(PromptClass.SINGLE_REWARD)
    points = average(curve, names)
    document = {
        "all": [point.to_json() for point in points],
        # The explaining experiment: on these, joint and balance stay flat while the reach of one dimension rises.
        "singleReward": [point.to_json() for point in average(curve.select(single), names)] if single.any() else [],
    }
    write_json(store, "curves.json", document)
    return _status(histogram), [
        CurvePoint(
            k=point.k,
            reach={name: api.number(figure.value) for name, figure in point.reach.items()},
            joint=api.number(point.joint.value),
            balance=api.number(point.balance.value),
        )
        for point in points
        if not np.isnan(point.balance.value)  # too many scores are missing for any prompt to have k complete rollouts
    ]


def _status(histogram: dict[str, object]) -> IsolationStatus:
    return IsolationStatus.model_validate({key: value for key, value in histogram.items() if key != "unmeasured"})


def _batches(
    scores: Table, names: Sequence[str], samples: int, calibration: Calibration
) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
    """(ids, u[P, N, K]) of at most BATCH prompts; prompts with fewer than N samples are padded with NaN."""
    keys: list[str] = []
    rows: list[NDArray[np.float64]] = []
    for row in scores.rows():
        u = np.full((samples, len(names)), np.nan)
        known = calibrated(row, names, calibration)
        u[: len(known)] = known
        keys.append(row["id"])
        rows.append(u)
        if len(rows) == BATCH:
            yield keys, np.stack(rows)
            keys, rows = [], []
    if rows:
        yield keys, np.stack(rows)


def _write_rows(
    store: Store,
    names: Sequence[str],
    ids: Sequence[str],
    isolation: Isolation,
    subsets: SubsetMeasures,
    volumes: NDArray[np.float64],
) -> None:
    table, full = Table(store, "analysis", ANALYSIS), subsets.full
    done = table.committed()  # a kill between two parts leaves some of them: they are the same on a re-run
    rows = [
        {
            "id": key,
            "class": isolation.label(i).value,
            "dimension": names[isolation.dimension[i]] if isolation.dimension[i] >= 0 else None,
            "active": [name for m, name in enumerate(names) if isolation.active[i, m]],
            "reach": _known(full.reach[i]),
            "spread": _known(full.spread[i]),
            "joint": _known(full.joint[i : i + 1])[0],
            "balance": _known(full.balance[i : i + 1])[0],
            "hypervolume": _known(volumes[i : i + 1])[0],
            "complete": int(full.complete[i]),
        }
        for i, key in enumerate(ids)
        if key not in done
    ]
    for start in range(0, len(rows), BATCH):
        table.append(rows[start : start + BATCH])


def _known(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
