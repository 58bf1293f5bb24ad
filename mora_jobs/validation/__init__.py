"""Manifests are checked before anything runs: the schema and CEL rules of the API server, and what needs other documents."""

from .checking import Target, check, resolve
from .fault import Fault
from .loading import Loaded, load

__all__ = ["Fault", "Loaded", "Target", "check", "load", "resolve"]
