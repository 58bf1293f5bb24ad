"""The endpoint's own certificate is accepted by Python's strict verification, for its name only."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from mora_operator.progress import certificate


async def connect(made: certificate.Certificate, name: str, authority: str) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=made.server_context()
    )
    async with server:
        context = ssl.create_default_context(cadata=authority)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        writer.close()


async def test_clients_that_trust_the_authority_connect() -> None:
    made = certificate.make("mora-operator.mora-system.svc", datetime.now(UTC))
    await connect(made, "mora-operator.mora-system.svc", made.authority)


@pytest.mark.parametrize("name", ["evil.svc", "mora-operator.other.svc"])
async def test_other_names_are_refused(name: str) -> None:
    made = certificate.make("mora-operator.mora-system.svc", datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(made, name, made.authority)


async def test_another_authority_and_an_expired_certificate_are_refused() -> None:
    now = datetime.now(UTC)
    made, other = certificate.make("a.svc", now), certificate.make("a.svc", now)
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(made, "a.svc", other.authority)
    old = certificate.make("a.svc", now - certificate.LIFETIME - timedelta(days=1))
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(old, "a.svc", old.authority)
