"""Whose fault it was, from the error that ended a driver."""

import pytest

from mora_jobs.artifacts.failures import DiskFull, StoreUnavailable
from mora_jobs.errors import UserError
from mora_jobs.progress.exits import code, describe, success
from mora_jobs.stopping import Stopped


class RayTaskError(Exception):
    """As Ray brings an actor's error: the cause beside a text that is a whole traceback."""

    def __init__(self, cause: Exception) -> None:
        Exception.__init__(self, "ray::Pool.generate() (pid=7)\n  File ...\nlong traceback")
        self.cause = cause


class UserErrorFromActor(RayTaskError, UserError):
    """As Ray's dual exceptions."""

    def __init__(self, cause: UserError) -> None:
        RayTaskError.__init__(self, cause)


class WorkerGroupError(Exception):
    """As Ray Train's."""

    def __init__(self, failure: Exception) -> None:
        super().__init__("Training failed due to worker errors")
        self.worker_failures = {0: failure}


class OutOfMemoryError(RuntimeError):
    """As torch's and Ray's."""


class ActorDiedError(Exception):
    pass


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


CUDA = OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize(
    ("error", "want"),
    [
        (UserError("prompts.jsonl:3", "no id"), ("UserError", "InvalidInput", 2)),
        (DiskFull("file:///x", "no space left"), ("UserError", "DiskFull", 2)),
        (UserErrorFromActor(UserError("reward 'a'", "NaN")), ("UserError", "InvalidInput", 2)),
        (WorkerGroupError(UserError("pairs", "none")), ("UserError", "InvalidInput", 2)),
        (chained(RuntimeError("engine"), UserError("model", "no chat template")), ("UserError", "InvalidInput", 2)),
        (CUDA, ("App", "AcceleratorOutOfMemory", 1)),
        (RayTaskError(CUDA), ("App", "AcceleratorOutOfMemory", 1)),
        (chained(RuntimeError("engine died"), ValueError("No available memory for the cache blocks")), ("App", "AcceleratorOutOfMemory", 1)),
        (OutOfMemoryError("Task was killed due to the node running low on memory"), ("App", "OutOfMemory", 1)),
        (MemoryError(), ("App", "OutOfMemory", 1)),
        (StoreUnavailable("s3://b", "answered 503"), ("Infra", "StoreUnavailable", 1)),
        (ActorDiedError("The actor died unexpectedly"), ("Infra", "WorkerLost", 1)),
        (WorkerGroupError(RuntimeError("NCCL error in: ProcessGroupNCCL.cpp")), ("Infra", "CollectiveFailed", 1)),
        (KeyError("x"), ("App", "KeyError", 1)),
        (SystemExit(3), ("App", "SystemExit", 1)),
        (Stopped(), ("Infra", "Stopped", 143)),
    ],
)  # fmt: skip
def test_class_reason_and_exit_code(error, want):
    record = describe(error)
    assert (record.class_.value, record.reason, code(record)) == want


def test_messages_are_one_line_of_the_inner_error_without_secrets():
    record = describe(RayTaskError(ValueError("bad key hf_abcdefghijklmnop\nsecond line")))
    assert record.message == "ValueError: bad key [redacted]"
    assert describe(UserErrorFromActor(UserError("reward 'a'", "returned NaN", "return None"))).message == (
        "reward 'a': returned NaN; return None"
    )
    assert len(describe(RuntimeError("x" * 5000)).message.encode()) == 1024


def test_success():
    assert code(success()) == 0
