"""`mora report`."""

import argparse

from mora_jobs.errors import UserError


def main(given: argparse.Namespace) -> int:
    if not (given.subject / "status").is_dir():
        raise UserError(str(given.subject), "is no workdir of `mora run`", "its --workdir, or runs/NAME, is one")
    from mora_jobs.report import write

    print(write(given.subject))
    return 0
