"""`mora report`."""

import argparse
from pathlib import Path

from mora_jobs.errors import UserError

from . import names
from .opening import open_cluster


def main(given: argparse.Namespace) -> int:
    folder = Path(given.subject)
    if (folder / "status").is_dir():
        from mora_jobs.report import write

        print(write(folder, given.output))
        return 0
    try:
        kind, name = names.job(given.subject)
    except UserError:
        what = "is neither a workdir of `mora run` nor KIND/NAME"
        raise UserError(
            given.subject,
            what,
            "a workdir is its --workdir, or runs/NAME; kinds are RolloutJob, RewriteJob, AlignmentJob",
        ) from None

    # Imported late: drawing and the client of Kubernetes take their time.
    from mora_jobs.report.draw import draw

    from .cluster_subject import subject

    page = draw(subject(open_cluster(given), kind, name))
    target: Path = given.output or Path(f"{name}-report.html")
    target.write_bytes(page)
    print(target)
    return 0
