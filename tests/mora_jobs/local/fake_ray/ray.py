"""A fake Ray for tests that are about `mora run` and not about Ray: it starts at once and runs nothing."""

from types import SimpleNamespace


def init(**given):
    return SimpleNamespace(dashboard_url=None)


def get_runtime_context():
    return SimpleNamespace(gcs_address="127.0.0.1:1")
