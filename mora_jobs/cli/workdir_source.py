"""Jobs of a workdir, read from its files. Needs no `mora run` to be alive."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from mora_jobs.api import Phase
from mora_jobs.api.crosscheck import nearest
from mora_jobs.errors import UserError
from mora_jobs.local.workdir import Workdir

from .source import Object

PAUSE = 0.5
ENDED = (Phase.COMPLETE, Phase.FAILED, Phase.STALLED)


class WorkdirSource:
    def __init__(self, folder: Path) -> None:
        self._workdir = Workdir(folder)
        if not (self._workdir.root / "status").is_dir():
            raise UserError(str(folder), "is no workdir of `mora run`", "its --workdir, or runs/NAME, is one")

    def objects(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        everything = self._workdir.objects()
        found = [
            thing
            for kind in kinds
            for thing in everything.values()
            if thing["kind"] == kind and name in (None, thing["metadata"]["name"])
        ]
        if name is not None and not found:
            wanted = f"{kinds[0]}/{name}"
            raise UserError(str(self._workdir), f"there is no {wanted}{nearest(wanted, list(everything))}")
        return found

    def changes(self, kinds: Sequence[str], name: str | None = None) -> Iterator[list[Object]]:
        seen: object = None
        while True:
            # Statuses are replaced, never changed in place: a new time means a new file.
            times = sorted((path.name, path.stat().st_mtime_ns) for path in self._files())
            if times != seen:
                seen = times
                yield self.objects(kinds, name)
            time.sleep(PAUSE)

    def log(self, kind: str, name: str, follow: bool, tail: int | None) -> Iterator[str]:
        self.objects([kind], name)
        path = self._workdir.log_file(f"{kind}/{name}")
        try:
            file = path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            raise UserError(f"{kind}/{name}", "has no log yet: its driver was not started") from None
        with file:
            yield from (line.rstrip("\n") for line in (deque(file, tail) if tail is not None else file))
            while follow:
                if line := file.readline():
                    yield line.rstrip("\n")
                elif not self._runs(kind, name):
                    return
                else:
                    time.sleep(PAUSE)

    def events(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        if name is not None:
            self.objects(kinds, name)
        return [
            {"object": f"{event['kind']}/{event['name']}", **event}
            for event in self._workdir.events()
            if event["kind"] in kinds and name in (None, event["name"])
        ]

    def remark(self) -> str | None:
        phases = [thing.get("status", {}).get("phase") for thing in self._workdir.objects().values()]
        if all(phase in ENDED for phase in phases) or self._workdir.is_busy():
            return None
        return "no `mora run` is at work here; run the same command again to resume"

    def _files(self) -> Iterator[Path]:
        return (self._workdir.root / "status").glob("*.yaml")

    def _runs(self, kind: str, name: str) -> bool:
        phase = self.objects([kind], name)[0].get("status", {}).get("phase")
        return phase == Phase.RUNNING and self._workdir.is_busy()
