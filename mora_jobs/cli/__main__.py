"""`python -m mora_jobs.cli` is `mora`."""

import sys

from . import main

sys.exit(main())
