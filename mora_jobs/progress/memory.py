"""Processes that the kernel killed for want of memory: the container's own count tells what Ray's errors do not.

Ray says that an actor died or is unavailable, whether its machine was lost or it ran into its pod's limit. The first is worth
another attempt; the second ends every attempt alike.
"""

import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from mora_jobs.api import Exit, ExitClass

log = logging.getLogger(__name__)

CGROUPS = Path("/sys/fs/cgroup")
ANSWER_SECONDS = 10.0


def kills(cgroups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes of this container (or of this process's control group) were killed so far; 0 where nobody counts."""
    for file in _counters(cgroups, own):
        try:
            found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found.group(1))
    return 0


def judge(record: Exit, before: int) -> Exit:
    """The exit record with its reason corrected, if processes were killed for want of memory since `before` was counted here."""
    if record.class_ is not ExitClass.INFRA or record.reason in ("Stopped", "StoreUnavailable"):
        return record
    nodes = _nodes_with_kills(before)
    if not nodes:
        return record
    message = f"the kernel killed a process at the memory limit of {nodes[0]}: raise its limit, or use less; {record.message}"
    return Exit(class_=ExitClass.APP, reason="OutOfMemory", message=message)


def _counters(cgroups: Path, own: Path) -> Iterable[Path]:
    """Version 2, then version 1; as seen in the process's own group, then as a container sees its group: as the root."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield cgroups / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield cgroups / "memory" / path.lstrip("/") / "memory.oom_control"
    yield cgroups / "memory.events"
    yield cgroups / "memory" / "memory.oom_control"


def _nodes_with_kills(before: int) -> list[str]:
    ray = sys.modules.get("ray")  # a driver that has not imported it has no workers
    if ray is None or not ray.is_initialized():
        return ["this process's container"] if kills() > before else []
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    count = ray.remote(num_cpus=0, max_retries=0)(kills)
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[count.options(scheduling_strategy=there).remote()] = node
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    found = []
    for reference in answered:
        node = asked[reference]
        try:
            killed: int = ray.get(reference)
        except Exception as error:  # a node that is lost meanwhile cannot say it
            log.warning("%s did not tell how many processes were killed: %s", node["NodeManagerHostname"], error)
            continue
        # The pods of an attempt are new; only where the driver itself runs may others have been killed before.
        if killed > (before if node["NodeID"] == here else 0):
            found.append(str(node["NodeManagerHostname"]))
    return found
