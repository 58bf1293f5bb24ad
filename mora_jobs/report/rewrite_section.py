"""The part of the report about a RewriteJob: whatever its artifacts hold by now."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mora_jobs import api
from mora_jobs.api.rewrite import Control
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.estimators.measures import measure
from mora_jobs.generation.schemas import FINAL_PROMPTS, scores_schema
from mora_jobs.generation.scores import calibrated
from mora_jobs.report import gain_charts as charts
from mora_jobs.report.difference import added
from mora_jobs.report.figures import between, plural, signed
from mora_jobs.report.gain_charts import Gain
from mora_jobs.report.style import Chart, as_number
from mora_jobs.rewards.calibration import Calibration

EXAMPLES = 12
GROUPS = {
    "accepted": "accepted, on a fresh seed",
    "unselected": "all that passed the text checks",
}


@dataclass(frozen=True)
class Attained:
    """What the rollouts of one prompt attain on the report's seed; None where it is not known."""

    balance: float | None
    joint: float | None
    reach: dict[str, float | None]


@dataclass(frozen=True)
class Rewrite:
    """An original and its accepted rewrite, side by side."""

    id: str
    dimension: str
    original: str
    pieces: list[tuple[str, bool]]
    before: Attained | None
    after: Attained | None


@dataclass(frozen=True)
class GainRow:
    """One figure of gains.json for one group of rewrites."""

    before: float | None
    after: float | None
    gain: Gain


@dataclass(frozen=True)
class RewriteSection:
    """What the page shows of a RewriteJob; None and empty for what is not there yet."""

    status: api.RewriteStatus
    names: list[str]
    prompts: dict[str, int]
    """Prompts that each group of gains rests on."""
    gains: dict[str, dict[str, GainRow]]
    """Rows by figure (balance, …), then by group."""
    chart: Chart | None
    arrows: Chart | None
    rejected: dict[str, int]
    rewrites: list[Rewrite]
    more: int
    lead: str


def rewrite_section(
    job: api.RewriteJob, status: api.RewriteStatus, store: Store | None, source: api.RolloutJob | None
) -> RewriteSection:
    """Read the artifacts, as far as they are there. `source` is the RolloutJob that the prompts came from."""
    document = (read_json(store, "gains.json") if store else None) or {}
    groups = {name: document[name] for name in GROUPS if document.get(name)}
    names = [reward.name for reward in source.spec.rewards] if source else []
    gains = _gains(groups, names)
    before, after = (_attained(store, source, folder) if store else {} for folder in ("originals", ""))
    rows = []
    if store and store.exists("prompts/table.json"):
        rows = [row for row in Table(store, "prompts", FINAL_PROMPTS).rows() if row["rewritten"]]
        rows.sort(key=lambda row: row["id"])
    rewrites = [
        Rewrite(
            id=row["id"],
            dimension=row["dimension"] or "",
            original=row["original"],
            pieces=added(row["original"], row["prompt"]),
            before=before.get(row["id"]),
            after=after.get(row["id"]),
        )
        for row in rows[:EXAMPLES]
    ]
    balances = [(key, before[key].balance, after[key].balance) for key in sorted(before.keys() & after.keys())]
    drawn = {
        f"{name} ({groups[name]['prompts']})": [row[name].gain for row in gains.values() if name in row]
        for name in groups
    }
    return RewriteSection(
        status=status,
        names=names,
        prompts={name: group["prompts"] for name, group in groups.items()},
        gains=gains,
        chart=charts.intervals(drawn, "calibrated scores") if drawn else None,
        arrows=charts.prompts(balances, "balance(N), best worst dimension") if balances else None,
        rejected=_rejected(status, document, store),
        rewrites=rewrites,
        more=len(rows) - len(rewrites),
        lead=_lead(job, status, gains),
    )


def _gains(groups: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, GainRow]]:
    rows: dict[str, dict[str, GainRow]] = {}
    for group, part in groups.items():
        for figure, change in part["changes"].items():
            gap = change["difference"]
            gain = Gain.of(figure.replace("reach.", "reach, "), gap["value"], gap["low"], gap["high"])
            rows.setdefault(gain.name, {})[group] = GainRow(
                as_number(change["before"]), as_number(change["after"]), gain
            )
    # What counts first, then the rewards in the order of the manifest.
    known = ["balance", "hypervolume", "joint", *(f"reach, {name}" for name in names)]
    first = [name for name in known if name in rows]
    return {name: rows[name] for name in [*first, *(name for name in rows if name not in first)]}


def _attained(store: Store, source: api.RolloutJob | None, folder: str) -> dict[str, Attained]:
    """Figures of every prompt in the tables below `folder`, on the frozen scale of the rollout job."""
    below = store.child(folder) if folder else store
    if source is None or not below.exists("scores/table.json"):
        return {}
    frozen = read_json(Store(source.spec.output.uri), "calibration.json")
    if frozen is None:
        return {}
    names, calibration = [reward.name for reward in source.spec.rewards], Calibration.from_json(frozen)
    found = {}
    for row in Table(below, "scores", scores_schema(names)).rows():
        u = calibrated(row, names, calibration)
        if not len(u):
            continue
        seen = measure(u[None], source.spec.isolation.joint_level)
        reach = {name: _known(value) for name, value in zip(names, seen.reach[0].tolist(), strict=True)}
        found[row["id"]] = Attained(_known(float(seen.balance[0])), _known(float(seen.joint[0])), reach)
    return found


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _rejected(status: api.RewriteStatus, document: Mapping[str, Any], store: Store | None) -> dict[str, int]:
    """Candidates by the reason for which they are out; before the end, what the text checks found so far."""
    if status.rewrites and status.rewrites.rejected:
        reasons = Counter(status.rewrites.rejected)
    elif document.get("reasons"):
        reasons = Counter(reason for reason in document["reasons"].values() if reason)
    elif store and store.exists("candidates/table.json"):
        rows = Table.open(store, "candidates").rows(["candidates"])
        reasons = Counter(c["reason"] for row in rows for c in row["candidates"] if c["reason"])
    else:
        return {}
    return dict(reasons.most_common())


def _lead(job: api.RewriteJob, status: api.RewriteStatus, gains: Mapping[str, Mapping[str, GainRow]]) -> str:
    """The result in a sentence or two."""
    counts = status.rewrites
    if counts is None:
        return ""
    if not counts.prompts.total:
        return "There was no single-reward prompt to rewrite."
    if job.spec.control is Control.DROP_ONLY:
        return f"{plural(counts.prompts.total, 'single-reward prompt')} left out, none rewritten (control DropOnly)."
    lead = f"{counts.accepted} of {plural(counts.prompts.total, 'prompt')} got a rewrite that fresh rollouts prove better."
    balance = gains.get("balance", {}).get("accepted")
    if balance is None or balance.gain.value is None:
        return lead
    change = f"{signed(balance.gain.value)} {between(balance.gain.low, balance.gain.high)}".strip()
    doubt = (
        " The interval holds 0: no gain is shown."
        if balance.gain.low is not None and balance.gain.verdict == "quiet"
        else ""
    )
    return f"{lead} On a seed that was not used for choosing, their balance changed by {change}.{doubt}"
