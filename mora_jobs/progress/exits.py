"""How a driver ended, as an exit record: whose fault it was decides whether another attempt makes sense.

UserError  the manifest or its inputs: no retry          exit code 2
App        the program, e.g. out of memory: counted      exit code 1
Infra      machines, stores: retried generously          exit code 1, after SIGTERM 143
"""

import re
from collections.abc import Iterator

from mora_jobs.api import Exit, ExitClass
from mora_jobs.api.redact import one_line
from mora_jobs.errors import UserError
from mora_jobs.stopping import Stopped

STOPPED_CODE = 128 + 15

# (class names, text, class, reason); the first row that matches any error of the chain decides. By name, so that no
# library has to be imported to recognise its errors.
KNOWN: tuple[tuple[str, str, ExitClass, str], ...] = (
    (r"OutOfMemoryError", r"CUDA|HIP|MPS|GPU", ExitClass.APP, "AcceleratorOutOfMemory"),
    (r"", r"CUDA (error: )?out of memory|No available memory for the cache blocks", ExitClass.APP, "AcceleratorOutOfMemory"),
    (r"", r"Free memory on device .* is less than desired GPU memory", ExitClass.APP, "AcceleratorOutOfMemory"),
    (r"MemoryError", r"", ExitClass.APP, "OutOfMemory"),
    (r"OutOfMemoryError", r"", ExitClass.APP, "OutOfMemory"),
    # What Ray says of an actor that its own watch on the node's memory has killed.
    (r"ActorDiedError", r"running low on memory", ExitClass.APP, "OutOfMemory"),
    (r"OutOfDiskError", r"", ExitClass.INFRA, "OutOfDisk"),
    (r"StoreUnavailable", r"", ExitClass.INFRA, "StoreUnavailable"),
    (r"SyncTimeout", r"", ExitClass.INFRA, "WeightSyncTimeout"),
    (r"NodeDiedError|LocalRayletDiedError|OwnerDiedError", r"", ExitClass.INFRA, "NodeLost"),
    (r"ObjectLostError|ObjectFetchTimedOutError|ObjectReconstructionFailedError", r"", ExitClass.INFRA, "ObjectLost"),
    (r"ActorDiedError|ActorUnavailableError|RayActorError|WorkerCrashedError", r"", ExitClass.INFRA, "WorkerLost"),
    (r"ActorUnschedulableError|TaskUnschedulableError", r"", ExitClass.INFRA, "Unschedulable"),
    (r"", r"NCCL (error|WARN)|ncclSystemError|ncclRemoteError|ncclInternalError", ExitClass.INFRA, "CollectiveFailed"),
    (r"", r"Gloo .*(Connection closed|Timed out|connectFullMesh)", ExitClass.INFRA, "CollectiveFailed"),
    (r"", r"uncorrectable ECC|CUDA error: device-side|Xid", ExitClass.INFRA, "AcceleratorFault"),
    (r"RuntimeEnvSetupError", r"", ExitClass.INFRA, "RuntimeEnvFailed"),
)  # fmt: skip


def success(reason: str = "Complete", message: str = "") -> Exit:
    return Exit(class_=ExitClass.SUCCESS, reason=reason, message=one_line(message))


def describe(error: BaseException) -> Exit:
    """The exit record of an error that ended a driver; its message is one line without secrets."""
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, Stopped):
            return Exit(
                class_=ExitClass.INFRA, reason="Stopped", message="stopped as asked; another attempt goes on from here"
            )
        mistake = _own(each)
        if mistake is not None:
            # A subclass, e.g. DiskFull, is a reason of its own.
            reason = "InvalidInput" if type(mistake) is UserError else type(mistake).__name__
            return Exit(class_=ExitClass.USER_ERROR, reason=reason, message=one_line(str(mistake)))
    shown = _unwrapped(error)
    message = one_line(f"{_name(shown)}: {_first_line(shown)}")
    for names, text, class_, reason in KNOWN:
        for each in chain:
            if re.search(names, _name(each)) and re.search(text, str(each)):
                return Exit(class_=class_, reason=reason, message=message)
    return Exit(class_=ExitClass.APP, reason=_reason(_name(shown)), message=message)


def code(record: Exit) -> int:
    """The exit code of the process."""
    if record.class_ is ExitClass.SUCCESS:
        return 0
    if record.class_ is ExitClass.USER_ERROR:
        return 2
    return STOPPED_CODE if record.reason == "Stopped" else 1


def _own(error: BaseException) -> UserError | None:
    """The UserError itself: Ray wraps what an actor raised into a class of both, whose text is a whole traceback."""
    if not isinstance(error, UserError):
        return None
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, UserError) else error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it, in other processes too (Ray's `cause`, Ray Train's `worker_failures`)."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting.append(each.__cause__)
        cause = getattr(each, "cause", None)
        waiting.append(cause if isinstance(cause, BaseException) else None)
        failures = getattr(each, "worker_failures", None)
        if isinstance(failures, dict):
            waiting.extend(failure for failure in failures.values() if isinstance(failure, BaseException))


def _unwrapped(error: BaseException) -> BaseException:
    """The error as it was raised in the worker, where Ray only brings it."""
    failures = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values()), None) if isinstance(failures, dict) else getattr(error, "cause", None)
    return _unwrapped(inner) if isinstance(inner, BaseException) and inner is not error else error


def _name(error: BaseException) -> str:
    return type(error).__name__.removeprefix("RayTaskError(").removesuffix(")")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _reason(name: str) -> str:
    """A class name as a condition's reason."""
    reason = re.sub(r"[^A-Za-z0-9]", "", name)[:64]
    return reason if reason[:1].isupper() else "DriverFailed"
