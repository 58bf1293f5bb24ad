"""How the tests are shared between two processes (`make test`): a file stays together, and so does what shares a server."""

import pytest

TOGETHER = ("apiserver", "e2e")  # folders whose tests share an API server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the group of each test, for `--dist loadgroup`."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in TOGETHER else item.path.name))
