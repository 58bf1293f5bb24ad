"""Scoring at scale: one Ray actor per reward model or callable, several batches in flight, memory bounded.

Heads of one model share an actor and its forward pass. Rewards that wait for others (servers, judges) are threads of
this process. A dead actor is restarted and its batch sent again, `workers.RETRIES` times for one batch.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Self

from mora_jobs import api
from mora_jobs.engines.cluster import connect
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.load import groups, load
from mora_jobs.rewards.workers import Actors, Scores, Threads, Workers, result

Row = tuple[str, Sequence[Item]]  # (key, the items of one prompt)

BATCH_ITEMS = 512  # enough to bucket by length well
DEPTH = 2  # batches per worker in flight: one is scored while the next is on its way


class RewardPool:
    """Scores items on all `rewards`; a context manager that holds the models.

    GPUs: models share them evenly (`1 / ceil(models / GPUs)` each), or get whole ones, and replicas when there are
    more GPUs than models. Without GPUs models run on the CPU, with its cores divided between them.
    """

    def __init__(
        self,
        rewards: Sequence[api.Reward],
        import_paths: Sequence[str] = (),
        credentials: Sequence[api.Credential] = (),
        batch_items: int = BATCH_ITEMS,
        gpus: float | None = None,
    ) -> None:
        """`gpus`: how many of the cluster's GPUs the models may take; all of them when None."""
        self.names = [reward.name for reward in rewards]
        self._groups = groups(rewards)
        self._import_paths = [os.path.abspath(path) for path in import_paths]
        self._credentials = list(credentials)
        self._batch_items, self._gpus = batch_items, gpus
        self.workers: list[Workers] = []

    def __enter__(self) -> Self:
        """Load everything, so that a wrong model or callable shows before any work. Raises UserError."""
        try:
            remote = [group for group in self._groups if group[0].type in ("classifier", "python")]
            if remote:
                connect()
            models = sum(group[0].classifier is not None for group in self._groups)
            for group in self._groups:
                if group in remote:
                    self.workers.append(Actors(group, self._import_paths, models, len(remote), self._gpus))
                else:
                    self.workers.append(Threads(load(group, self._import_paths, self._credentials), group))
            for worker in self.workers:
                worker.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.workers = []

    def score(self, items: Sequence[Item]) -> Scores:
        """By reward name, the raw scores of `items` in their order; None is a missing score."""
        starts = range(0, len(items), self._batch_items)
        chunks = ((str(start), items[start : start + self._batch_items]) for start in starts)
        parts = dict(self.stream(chunks))
        return {name: [value for start in starts for value in parts[str(start)][name]] for name in self.names}

    def stream(self, rows: Iterable[Row]) -> Iterator[tuple[str, Scores]]:
        """Score rows as they come and yield each with its key, not necessarily in order.

        At most `in_flight` batches of about `batch_items` responses are held at a time, however many rows there are.
        """
        waiting = _batches(rows, self._batch_items)
        in_flight = DEPTH * max(worker.size for worker in self.workers)
        jobs: dict[int, tuple[list[Row], list[Future[Scores]]]] = {}
        number = itertools.count()
        while True:
            for batch in itertools.islice(waiting, in_flight - len(jobs)):
                items = [item for _, row in batch for item in row]
                if not items:  # prompts that could not be sampled
                    yield from _split(batch, {name: [] for name in self.names})
                    continue
                jobs[next(number)] = batch, [worker.submit(items) for worker in self.workers]
            if not jobs:
                return
            wait([f for _, futures in jobs.values() for f in futures if not f.done()], return_when=FIRST_COMPLETED)
            for key in [key for key, (_, futures) in jobs.items() if any(f.done() for f in futures)]:
                batch, futures = jobs[key]
                # A failure shows at once, not when the slowest reward is done.
                done = [result(f, worker.label) for worker, f in zip(self.workers, futures, strict=True) if f.done()]
                if len(done) == len(futures):
                    del jobs[key]
                    yield from _split(batch, {name: scores for part in done for name, scores in part.items()})


def _batches(rows: Iterable[Row], limit: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row[1])
        if size >= limit:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _split(batch: Sequence[Row], scores: Scores) -> Iterator[tuple[str, Scores]]:
    start = 0
    for key, items in batch:
        yield key, {name: values[start : start + len(items)] for name, values in scores.items()}
        start += len(items)
