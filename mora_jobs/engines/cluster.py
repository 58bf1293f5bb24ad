"""The Ray that engines run in: the one we are in, the one RAY_ADDRESS names, or a small one of our own."""

import logging
import os

import ray

OBJECT_STORE_BYTES = 256 * 2**20  # requests and completions are small and travel inline
TRIES = 3
_log = logging.getLogger(__name__)


def connect() -> None:
    """Make sure that Ray is initialised. A Ray that others started on this machine is not touched unasked."""
    if ray.is_initialized():
        return
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, log_to_driver=False)
    else:
        start_local()


def start_local(cpus: int | None = None) -> None:
    """A Ray of our own on this machine, which ends with this process.

    Its processes have 30 s to come up, which a machine that is busy with other things may not keep: the next try finds
    everything read from the disk.
    """
    for attempt in range(1, TRIES + 1):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,  # what Ray tells about a cluster is noise for who did not ask for one
            )
            return
        except Exception as error:  # Ray raises a bare Exception here
            if "timed out during startup" not in str(error) or attempt == TRIES:
                raise
            _log.warning("Ray did not start within 30 s, the machine is busy: trying again")
            ray.shutdown()


def total(resource: str) -> float:
    """How much of "CPU" or "GPU" the nodes of the cluster have together."""
    return float(ray.cluster_resources().get(resource, 0.0))
