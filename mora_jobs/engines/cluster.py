"""The Ray that engines run in: the one we are in, the one RAY_ADDRESS names, or a small one of our own."""

import os

import ray

OBJECT_STORE_BYTES = 256 * 2**20  # requests and completions are small and travel inline


def connect() -> None:
    """Make sure that Ray is initialised. A Ray that others started on this machine is not touched unasked."""
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
        )


def total(resource: str) -> float:
    """How much of "CPU" or "GPU" the nodes of the cluster have together."""
    return float(ray.cluster_resources().get(resource, 0.0))
