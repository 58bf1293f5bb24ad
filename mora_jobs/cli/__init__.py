"""`mora`, which is also `kubectl mora`. Imports nothing before it knows which command is meant."""

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 the job failed, 2 bad usage or manifest, 3 no cluster."""
    from .parser import parse

    given = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        from importlib import import_module

        code = import_module(f"mora_jobs.cli.{given.module}").main(given)
        sys.stdout.flush()
        return int(code)
    except BrokenPipeError:  # `mora get | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from .failures import explain

        return explain(error)


if __name__ == "__main__":
    sys.exit(main())
