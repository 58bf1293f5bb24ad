"""Two experiments of the same names in two namespaces at once: neither sees the other."""

from collections.abc import Callable

import pytest
from chains import complete
from experiments import SECONDS, code, manifests, prepare
from kubectl import Namespace
from statuses import results

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(8 * SECONDS)
def test_two_experiments_in_two_namespaces(new_namespace: Callable[[], Namespace], runtime_image: str) -> None:
    teams = new_namespace(), new_namespace()
    for team, seed in zip(teams, (3, 4), strict=True):
        prepare(team.volume)
        code(team)
        jobs = manifests(runtime_image)
        jobs[0]["spec"]["sampling"]["seed"] = seed
        team.apply(*jobs)
    found = [complete(team, jobs) for team in teams]
    for team in teams:
        print(team.kubectl("get", "rlj,rwj,alj", "-o", "wide"))
    assert results(found[0][0])["digests"] != results(found[1][0])["digests"], "each has its own seed"
