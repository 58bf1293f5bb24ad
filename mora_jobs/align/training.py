"""The trainings of a plan, round by round, reported while they run."""

import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from mora_jobs import api
from mora_jobs.align.notes import Desire, Note
from mora_jobs.align.plan import Plan
from mora_jobs.align.task import Task
from mora_jobs.api import Desired
from mora_jobs.api.align import AlignmentResult, TrainingStatus
from mora_jobs.api.status import Checkpoint
from mora_jobs.progress.rate import Rate
from mora_jobs.progress.reporter import Reporter, Stopped

log = logging.getLogger(__name__)


def run_trainings(plan: Plan, spec: api.AlignmentSpec, reporter: Reporter) -> None:
    """Train what has no result yet. When the job is asked to stop, running trainings save first; then raises Stopped."""
    # A worker group trains a round after the other by itself, unless rounds are to be trained by several groups.
    rounds = [tuple(plan.tasks.values())] if spec.front.parallel == 1 else list(plan.rounds)
    todo = [[task for task in tasks if task.result() is None] for tasks in rounds]
    if not any(todo):
        return
    # Imported late: Ray Train brings torch, which a driver that only measures does without.
    from mora_jobs.align.launch import Trainings

    with Trainings(spec.front.parallel) as trainings:
        progress = _Progress(plan, spec, reporter, len(plan.tasks) - sum(map(len, todo)))
        for tasks in filter(None, todo):
            for notes in trainings.run(tasks):
                trainings.want(progress.heed())
                if not progress.stopping:
                    # Stop may be asked for between two looks: then the next one passes it on.
                    with contextlib.suppress(Stopped):
                        progress.show(notes)
            if progress.stopping:
                raise Stopped


class _Progress:
    """What the trainings of a job have done together, as the reporter shows it."""

    def __init__(self, plan: Plan, spec: api.AlignmentSpec, reporter: Reporter, finished: int) -> None:
        self.stopping = False
        self._tasks, self._spec, self._reporter = plan.tasks, spec, reporter
        self._finished_before = finished
        self._asked = Desired.CONTINUE
        self._rate = Rate()
        self._begun: set[str] = set()

    def heed(self) -> Desire:
        """What the trainings shall do now. A request to save is passed on once."""
        asked, before = self._reporter.desired(), self._asked
        self._asked = asked
        self.stopping |= asked is Desired.STOP
        if self.stopping:
            return Desire.STOP
        return Desire.CHECKPOINT if asked is Desired.CHECKPOINT and before is not asked else Desire.CONTINUE

    def show(self, notes: Mapping[str, Note]) -> None:
        """Steps over all trainings; the details are those of the one that was last heard of."""
        if not notes:
            self._reporter.update(0, len(self._tasks), "Trainings", stage="Training")
            return
        note = list(notes.values())[-1]
        task = self._tasks[note.training]
        if note.stage != "Training":
            self._reporter.update(note.completed, note.total, "Pairs", stage=note.stage)
            return
        if note.training not in self._begun:
            self._begun.add(note.training)
            whence = f"goes on after step {note.begun}" if note.begun else "begins"
            log.info("training %s %s, %d steps in all", note.training, whence, note.total)
        trained = {name: each for name, each in notes.items() if each.stage == "Training"}
        steps = sum(each.completed for each in trained.values())
        # What has not started yet, or was done by an earlier attempt, is taken to be as long as this one.
        others = len(self._tasks) - len(trained)
        total = sum(each.total for each in trained.values()) + others * note.total
        self._rate.observe("steps", steps, time.monotonic())
        self._reporter.update(
            steps + self._finished_before * note.total,
            total,
            "Steps",
            AlignmentResult(training=self._status(note)),
            {f"{name}/{note.training}": value for name, value in note.figures.items()},
            stage="Training",
            checkpoint=_checkpoint(task, note),
        )

    def _status(self, note: Note) -> TrainingStatus:
        rate = self._rate.per_second()
        return TrainingStatus(
            point=note.training,
            epoch=api.number(note.epoch),
            step=note.completed,
            total_steps=note.total,
            loss=api.number(note.figures["loss"]),
            learning_rate=api.number(note.figures["learning_rate"]),
            samples_per_second=None if rate is None else api.number(rate * self._spec.trainer.examples_per_step),
        )


def _checkpoint(task: Task, note: Note) -> Checkpoint | None:
    if not note.checkpoint:
        return None
    uri = f"{task.store.uri}/checkpoints/step-{note.checkpoint:08d}"
    return Checkpoint(uri=uri, step=note.checkpoint, time=datetime.now(UTC).replace(microsecond=0))
