"""Trainings as Ray Train jobs: one worker per process and GPU, restarted together when one dies.

A worker group does many trainings one after the other (a lane): starting one costs more than a short training.
"""

import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from mora_jobs.align.notes import Desire, Note
from mora_jobs.align.task import Task
from mora_jobs.engines.cluster import connect, total
from mora_jobs.errors import UserError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
Refusal = tuple[str, str, str]


class Board:
    """An actor: workers pin notes to it and take what the driver wants; the driver reads them."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}
        self._desire = Desire.CONTINUE
        self._refusals: list[Refusal] = []

    def pin(self, note: Note) -> int:
        self._notes.pop(note.training, None)  # the last one heard of stands last
        self._notes[note.training] = note
        wanted = self._desire
        if wanted is Desire.CHECKPOINT:
            self._desire = Desire.CONTINUE
        return int(wanted)

    def refuse(self, where: str, what: str, todo: str) -> None:
        self._refusals.append((where, what, todo))

    def want(self, desire: int) -> None:
        """A wish to save is heard once; a wish to stop stays."""
        self._desire = Desire(max(desire, self._desire if self._desire is Desire.STOP else 0))

    def read(self) -> tuple[dict[str, Note], list[Refusal]]:
        return self._notes, self._refusals


class Trainings:
    """Runs trainings, up to `parallel` at a time, and tells what they do while they run. A context manager."""

    def __init__(self, parallel: int) -> None:
        self._parallel = parallel
        self._board: Any = None

    def __enter__(self) -> Self:
        connect()
        if len(ray.nodes()) == 1:
            # Nobody takes away the only node and leaves us running: a process less to start.
            os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        self._board = ray.remote(Board).options(num_cpus=0).remote()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.kill(self._board)

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Note]]:
        """Train all tasks, those of a lane in their order; yields what each was last seen to do, about twice a second.

        Raises UserError that a worker raised, else what Ray Train raised when the restarts were used up.
        """
        lanes = [list(tasks[start :: self._parallel]) for start in range(min(self._parallel, len(tasks)))]
        ended: SimpleQueue[BaseException | None] = SimpleQueue()
        for lane in lanes:
            # Daemons: when the driver is told to end, it must not wait for a training.
            threading.Thread(target=self._fit, args=(lane, ended), name=lane[0].name, daemon=True).start()
        left = len(lanes)
        while left:
            try:
                error = ended.get(timeout=POLL_SECONDS)
            except Empty:
                yield self._read()[0]
                continue
            left -= 1
            notes, refusals = self._read()
            for refusal in refusals:
                raise UserError(*refusal)
            if error is not None:
                raise error
            yield notes

    def want(self, desire: Desire) -> None:
        """What running trainings find at their next step."""
        if desire is not Desire.CONTINUE:
            ray.get(self._board.want.remote(int(desire)))

    def _read(self) -> tuple[dict[str, Note], list[Refusal]]:
        found: tuple[dict[str, Note], list[Refusal]] = ray.get(self._board.read.remote())
        return found

    def _fit(self, lane: list[Task], ended: SimpleQueue[BaseException | None]) -> None:
        try:
            _trainer(lane, self._board, self._parallel).fit()
            ended.put(None)
        except BaseException as error:
            ended.put(error)


def _trainer(lane: list[Task], board: Any, parallel: int) -> TorchTrainer:
    spec = lane[0].spec.trainer
    workers = spec.nodes * spec.workers_per_node
    gpus = total("GPU") > 0
    # On CPUs a worker reserves less than it uses: other actors of the job must find room beside it.
    cpus = 1.0 if gpus else min(1.0, 0.5 * total("CPU") / (workers * parallel))
    return TorchTrainer(
        _loop,
        train_loop_config={"lane": lane, "board": board, "share": parallel},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpus, resources_per_worker={"CPU": cpus, "GPU": float(gpus)}
        ),
        run_config=RunConfig(
            name=lane[0].name,
            # Ray Train keeps its own notes here; checkpoints are ours and lie in the store.
            storage_path=tempfile.mkdtemp(prefix="mora-train-"),
            failure_config=FailureConfig(max_failures=spec.max_failures),
        ),
    )


def _loop(config: dict[str, Any]) -> None:
    """The body of each Ray Train worker."""
    import torch
    from ray.train import get_context

    from mora_jobs.align.worker import train_all

    board = config["board"]
    if not torch.cuda.is_available():
        # Ray gives an actor one thread; the workers of a machine share its cores.
        cores = len(os.sched_getaffinity(0)) // (get_context().get_local_world_size() * config["share"])
        torch.set_num_threads(max(1, cores))
    try:
        train_all(config["lane"], lambda note: Desire(ray.get(board.pin.remote(note))))
    except UserError as error:
        # Returned, not raised: Ray Train would try again as often as maxFailures allows.
        ray.get(board.refuse.remote(error.where, error.what, error.todo))
