"""The embedded Ray of a run: `python -m mora_jobs.local.ray_head JSON`. Prints one line of JSON when it is ready.

A process of its own, because Ray ends a process whose cluster breaks, and `mora run` has to outlive that and say so.
"""

import json
import sys

from mora_jobs.lifeline import die_with

TRIES = 3


def main() -> None:
    given = json.loads(sys.argv[1])
    die_with(given["parent"])
    import ray

    for attempt in range(1, TRIES + 1):
        try:
            context = ray.init(
                address="local",
                num_cpus=given["cpus"],
                object_store_memory=given["objectStoreBytes"],
                include_dashboard=given["dashboard"],
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=given["folder"],
            )
            break
        except Exception as error:  # Ray raises a bare Exception here
            # Its processes have 30 s to come up; on a busy machine the next try finds everything read from the disk.
            if "timed out" not in str(error) or attempt == TRIES:
                raise
            print(f"Ray did not start in time: {error}", file=sys.stderr, flush=True)
            ray.shutdown()
    ready = {"address": ray.get_runtime_context().gcs_address, "dashboard": context.dashboard_url or None}
    print(json.dumps(ready), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
