"""The fake driver itself (see sitecustomize.py): steps are lines of a file, so that a resume can be seen."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from mora_jobs import api
from mora_jobs.api.reports import RESULTS
from mora_jobs.api.rollout import IsolationStatus, RolloutCounts, TokenCounts
from mora_jobs.api.status import PromptCounts
from mora_jobs.artifacts.identity import claim, complete
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

log = logging.getLogger("fake")


def run(resolved, reporter):
    job = resolved.job
    wish = job.metadata.annotations
    steps, seconds, end = int(wish.get("fake/steps", "3")), float(wish.get("fake/seconds", "0")), wish.get("fake/end")
    if end == "EarlyUserError":
        raise UserError("prompts.jsonl:3", "no id in field 'id'", "name it by spec.prompts.idField")
    store = Store(job.spec.output.uri)
    claim(store, api.identity(resolved), job.spec.output.overwrite_policy.value, job.metadata.uid)
    held = _hold() if "fake/ray" in wish else None
    if "fake/meet" in wish:
        _meet(store, Path(store.uri.removeprefix("file://")).parent / wish["fake/meet"])
    done = store.list("steps")
    reporter.update(len(done), steps, "Prompts", stage="Rollouts")
    for step in range(len(done), steps):
        time.sleep(seconds)
        store.write(f"steps/{step:04}.txt", f"{os.getpid()} {time.time()}".encode())
        if "fake/ignore-stop" not in wish:
            reporter.update(step + 1, steps, "Prompts", stage="Rollouts", status=_result(job, step + 1, steps))
    if end == "UserError":
        raise UserError(
            "reward 'helpful'", "returned NaN for prompt p7, api_key=abcdef123456", "return a number or None"
        )
    if end == "App":
        raise RuntimeError("Bearer abcdefghijklmnop is not welcome here")
    if end == "ShowCredentials":
        path = Path(os.environ["HF_TOKEN_PATH"])
        raise UserError("credentials", f"{path.read_text()} {os.environ['JUDGE_KEY']} {path.stat().st_mode & 0o777:o}")
    if resolved.attempt <= int(wish.get("fake/deaths", "0")):
        os.kill(os.getpid(), 9)
    if end == "Exit":
        os._exit(7)
    if end == "Kill":
        os.kill(os.getpid(), 9)
    if end == "Hang":
        time.sleep(3600)
    del held
    complete(store, {"steps": f"sha256:{steps}"})
    log.info("all steps are done")
    return _result(job, steps, steps)


def _meet(store, other):
    """Wait until the other job runs too."""
    store.write("here", b"")
    deadline = time.monotonic() + 60
    while not (other / "here").exists():
        if time.monotonic() > deadline:
            raise UserError(str(other), "did not come")
        time.sleep(0.02)


def _result(job, done, total):
    if job.kind != "RolloutJob":
        return RESULTS[job.kind]()
    counts = RolloutCounts(
        prompts=PromptCounts(total=total, completed=done), samples=4 * done, tokens=TokenCounts(generated=40 * done)
    )
    return api.RolloutResult(rollouts=counts, isolation=IsolationStatus(single_reward={"helpful": 2}, mixed=1))


def _hold():
    """An actor with a child process of its own, as vLLM has, and a child of the driver."""
    import ray

    @ray.remote
    class Holder:
        def __init__(self):
            self.child = subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True
            )

        def pid(self):
            return os.getpid()

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
    holder = Holder.remote()
    log.info("holding actor %d", ray.get(holder.pid.remote()))
    return holder, subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
