"""A job that is deleted and made again under its name, as Flux's `force` does."""

import threading

from experiment import Experiment
from small_job import small_job
from team import RUNNING


def owner(experiment: Experiment) -> list[str]:
    rayjob = experiment.api.get("rayjob", "again-a1")
    return [each["uid"] for each in rayjob["metadata"]["ownerReferences"]] if rayjob else []


def test_what_the_old_job_has_left_does_not_stall_the_new_one(experiment: Experiment) -> None:
    """Flux gives up on a job as soon as it is Stalled; until the garbage collector has come, it only waits."""
    experiment.collector_seconds = 2.0
    experiment.api.create("rolloutjob", small_job("again"))
    experiment.kuberay_says("rolloutjob", RUNNING)
    experiment.until_phases("Running")
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            seen.update(phase for phase in experiment.phases().values() if phase)

    experiment.api.delete("rolloutjob", "again")
    experiment.api.create("rolloutjob", small_job("again"))
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        experiment.until(lambda: owner(experiment) == experiment.uids(), "the RayJob is the new job's")
        experiment.kuberay_says("rolloutjob", RUNNING)
        experiment.until_phases("Running")
    finally:
        over.set()
        watcher.join()
    assert "Stalled" not in seen
