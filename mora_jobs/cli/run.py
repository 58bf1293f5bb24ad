"""`mora run`."""

import argparse

from rich.console import Console

from mora_jobs.local.run import Options, run


def main(given: argparse.Namespace) -> int:
    options = Options(given.paths, given.workdir, given.sets, given.volumes, given.dashboard)
    try:
        return run(options, Console())
    except KeyboardInterrupt:  # before the drivers are there
        Console(stderr=True).print("interrupted; run the same command again to resume", highlight=False)
        return 130
