"""The embedded Ray of a run: `python -m mora_jobs.local.ray_head JSON`. Prints one line of JSON when it is ready.

A process of its own, because Ray ends a process whose cluster breaks, and `mora run` has to outlive that and say so.
"""

import json
import sys

from mora_jobs.lifeline import die_with


def main() -> None:
    given = json.loads(sys.argv[1])
    die_with(given["parent"])
    import ray

    context = ray.init(
        address="local",
        num_cpus=given["cpus"],
        object_store_memory=given["objectStoreBytes"],
        include_dashboard=given["dashboard"],
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=given["folder"],
    )
    ready = {"address": ray.get_runtime_context().gcs_address, "dashboard": context.dashboard_url or None}
    print(json.dumps(ready), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
