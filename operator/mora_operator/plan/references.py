"""Which other jobs a job refers to, and whether they have come far enough."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mora_jobs.api import ConditionType

from ..resources import JobKey, Object
from .conditions import is_true

KIND_OF_FIELD = {"rolloutJobRef": "RolloutJob", "rewriteJobRef": "RewriteJob"}


@dataclass(frozen=True, slots=True)
class References:
    """The jobs that a job refers to, directly or through others.

    `direct` are those that must be complete first; `jobs` holds all that exist, as they came from the API server;
    `cycle` tells that the job is among its own references.
    """

    direct: tuple[JobKey, ...] = ()
    jobs: tuple[tuple[JobKey, Object], ...] = ()
    cycle: bool = False

    def missing(self) -> list[JobKey]:
        present = {key for key, _ in self.jobs}
        return [key for key in self.direct if key not in present]

    def failed(self) -> list[JobKey]:
        return [key for key in self.direct if self._is(key, ConditionType.FAILED)]

    def unfinished(self) -> list[JobKey]:
        return [key for key in self.direct if not self._is(key, ConditionType.COMPLETE)]

    def _is(self, key: JobKey, condition: ConditionType) -> bool:
        return any(is_true(raw.get("status") or {}, condition) for other, raw in self.jobs if other == key)


def direct(key: JobKey, raw: Mapping[str, Any]) -> tuple[JobKey, ...]:
    """The jobs that this one names in its spec, each once."""
    found = _walk(raw.get("spec"))
    return tuple(dict.fromkeys(JobKey(kind, key.namespace, name) for kind, name in found))


def follow(key: JobKey, first: tuple[JobKey, ...], get: Callable[[JobKey], Object | None]) -> References:
    """All references of a job among the jobs that exist. `first` are its direct ones; `get` gives a job."""
    reached: dict[JobKey, Object] = {}
    frontier, cycle = list(first), False
    while frontier:
        other = frontier.pop()
        cycle = cycle or other == key
        found = get(other) if other not in reached else None
        if found is None:
            continue
        reached[other] = found
        frontier.extend(direct(other, found))
    return References(first, tuple(sorted(reached.items(), key=lambda item: str(item[0]))), cycle)


def _walk(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for field, item in value.items():
            if field in KIND_OF_FIELD and isinstance(item, Mapping) and isinstance(item.get("name"), str):
                yield KIND_OF_FIELD[field], item["name"]
            else:
                yield from _walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item)
