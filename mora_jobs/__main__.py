"""The driver process of one job: `python -m mora_jobs --job FILE`. RayJobs run it, and so does `mora run`.

FILE is a ResolvedJob as JSON. Exit codes: 0 done, 2 a mistake in the manifest or its inputs (one line on stderr),
1 anything else (a traceback on stderr), 143 stopped by SIGTERM. The exit record is reported, and lies as exit.json
beside the artifacts.
"""

import argparse
import sys
from pathlib import Path

from mora_jobs.lifeline import die_with
from mora_jobs.stopping import StopSignals


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mora_jobs", description="Run the driver of one resolved job.")
    parser.add_argument("--job", required=True, type=Path, metavar="FILE", help="ResolvedJob as JSON")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this parent process ends")
    given = parser.parse_args()
    if given.parent is not None:
        die_with(given.parent)
    signals = StopSignals()
    # Imported late: these imports start threads, which have to inherit the blocked signals.
    from mora_jobs.driving import drive

    return drive(given.job, signals)


if __name__ == "__main__":
    sys.exit(main())
