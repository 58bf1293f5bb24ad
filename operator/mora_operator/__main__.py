"""`python -m mora_operator`: run the operator (see --help)."""

import sys

from .settings import parse
from .telemetry import logs

if __name__ == "__main__":
    settings = parse(sys.argv[1:])
    logs.configure(settings.log_level)
    # After the flags were read: --help and a bad flag must not wait for kopf and the Kubernetes client.
    from .main import run

    sys.exit(run(settings))
