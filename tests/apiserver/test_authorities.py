"""Certificate authorities of several replicas on a real API server: published, renewed in time, and given up."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from control_plane import Cluster
from kubernetes.aio import client

from mora_operator.kube.client import Kube
from mora_operator.progress import certificate
from mora_operator.progress.authorities import LIMIT, Authorities, bundle, living_of
from mora_operator.progress.rotation import SPREAD, Rotation
from mora_operator.resources import CONFIG_MAPS

HOST = "mora-operator.mora-system.svc"
NAME = "mora-operator-authorities"
NOW = datetime.now(UTC)


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[Kube]:
    configuration = client.Configuration(host=cluster.url)
    configuration.ssl_ca_cert = str(cluster.ca)
    configuration.api_key = {"BearerToken": cluster.token}
    configuration.api_key_prefix = {"BearerToken": "Bearer"}
    kube = Kube(configuration)
    yield kube
    await kube.close()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    name = f"authorities-{abs(hash(request.node.name)) % 10**8}"
    cluster.kubectl("create", "namespace", name)
    return name


async def is_trusted(rotation: Rotation, authorities: str) -> bool:
    """Whether a client that knows these authorities connects to the replica."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=rotation.context)
    async with server:
        context = ssl.create_default_context(cadata=authorities)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        port = server.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=HOST)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True


async def test_each_replica_is_trusted_by_what_any_of_them_reads(kube: Kube, namespace: str) -> None:
    one, two = (Rotation(HOST, Authorities(kube, NAME, namespace, name), NOW) for name in ("one", "two"))
    first, both = await one.tick(NOW), await two.tick(NOW)
    assert await one.tick(NOW) == both
    assert await is_trusted(one, both)
    assert await is_trusted(two, both)
    assert not await is_trusted(two, first)


async def test_a_new_certificate_is_used_when_all_had_time_to_learn_of_it(kube: Kube, namespace: str) -> None:
    due = NOW - SPREAD - timedelta(minutes=1)  # TLS goes by the clock: what is made in the future is not valid yet
    begun = due - certificate.LIFETIME / 2
    rotation = Rotation(HOST, Authorities(kube, NAME, namespace, "one"), begun)
    at_first = await rotation.tick(begun)
    assert await rotation.tick(due - timedelta(minutes=1)) == at_first
    announced = await rotation.tick(due)
    assert announced.count("BEGIN CERTIFICATE") == 2
    assert await is_trusted(rotation, at_first), "who has not heard of the new one yet is still served the old one"
    assert await rotation.tick(due + SPREAD - timedelta(minutes=1)) == announced
    renewed = await rotation.tick(due + SPREAD)
    assert renewed.count("BEGIN CERTIFICATE") == 1
    assert await is_trusted(rotation, renewed)
    assert await is_trusted(rotation, announced)
    assert not await is_trusted(rotation, at_first)


async def test_replicas_that_are_no_more_are_given_up_and_a_deleted_list_comes_back(
    kube: Kube, namespace: str, cluster: Cluster
) -> None:
    gone = Rotation(
        HOST, Authorities(kube, NAME, namespace, "gone"), NOW - certificate.LIFETIME - timedelta(minutes=1)
    )
    await gone.tick(NOW - certificate.LIFETIME)
    lives = Rotation(HOST, Authorities(kube, NAME, namespace, "lives"), NOW)
    await lives.tick(NOW)
    found = await kube.get(CONFIG_MAPS, namespace, NAME)
    assert list(found["data"]) == ["lives"]
    cluster.kubectl("-n", namespace, "delete", "configmap", NAME)
    assert (await lives.tick(NOW)).count("BEGIN CERTIFICATE") == 1


def test_the_newest_are_kept() -> None:
    made = {f"pod-{i:02}": certificate.make(HOST, NOW + timedelta(minutes=i)).authority for i in range(LIMIT + 4)}
    living = living_of(made | {"somebody": "not PEM"}, NOW)
    assert list(living) == [f"pod-{i:02}" for i in range(4, LIMIT + 4)]
    assert bundle(living).count("BEGIN CERTIFICATE") == LIMIT
