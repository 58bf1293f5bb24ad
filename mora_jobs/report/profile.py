"""What the prompts of each class attain on average: the row of a single-reward class shows what they lack."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.schemas import ANALYSIS, SINGLE_REWARD

ORDER = (SINGLE_REWARD, "MultiReward", "Mixed", "Dead")


@dataclass
class Profile:
    """Means over the prompts of one class; single-reward prompts by their dimension."""

    label: str
    dimension: str
    prompts: int = 0
    _sums: dict[str, tuple[float, int]] = field(default_factory=dict)

    def mean(self, name: str) -> float | None:
        """Of the reach of a reward, of `joint` or of `balance` over the prompts where it is known."""
        total, known = self._sums.get(name, (0.0, 0))
        return total / known if known else None

    def add(self, name: str, value: float | None) -> None:
        if value is not None:
            total, known = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, known + 1


def profiles(store: Store, names: Sequence[str]) -> list[Profile]:
    """One row for each class that has prompts. Names of rewards are prefixed `reach.`."""
    found: dict[tuple[str, str], Profile] = {}
    for row in Table(store, "analysis", ANALYSIS).rows(["class", "dimension", "reach", "joint", "balance"]):
        key = row["class"], row["dimension"] or ""
        profile = found.setdefault(key, Profile(*key))
        profile.prompts += 1
        for name, value in zip(names, row["reach"], strict=True):
            profile.add(f"reach.{name}", value)
        profile.add("joint", row["joint"])
        profile.add("balance", row["balance"])

    def place(profile: Profile) -> tuple[int, int]:
        return ORDER.index(profile.label), names.index(profile.dimension) if profile.dimension else 0

    return sorted(found.values(), key=place)
