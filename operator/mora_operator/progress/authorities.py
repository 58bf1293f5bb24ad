"""Whom jobs trust when they report: the certificate authorities of all replicas, in a ConfigMap of the operator's namespace.

Each replica has an authority of its own, whose key never leaves its process. Only the certificates are published, and
those are no secrets: so no Secret is kept, and no right to read one is needed.
"""

from datetime import UTC, datetime

from cryptography import x509

from ..kube.client import AlreadyExists, Kube, NotFound
from ..resources import CONFIG_MAPS, MANAGED_BY, MANAGED_BY_LABEL, Object

LIMIT = 16  # replicas come and go; the newest are those that live


class Authorities:
    """The published authorities. `instance` names this replica, by a valid ConfigMap key."""

    def __init__(self, kube: Kube, name: str, namespace: str, instance: str) -> None:
        self._kube = kube
        self._name = name
        self._namespace = namespace
        self._instance = instance

    async def share(self, own: str, now: datetime) -> dict[str, str]:
        """Have this replica's authorities (PEM, one or more) published. Returns those of all replicas that live."""
        try:
            found = await self._kube.get(CONFIG_MAPS, self._namespace, self._name)
        except NotFound:
            found = await self._create(own)
        published: dict[str, str] = dict(found.get("data") or {})
        living = living_of(published | {self._instance: own}, now)
        changed: Object = {instance: None for instance in published if instance not in living}
        if published.get(self._instance) != own:
            changed[self._instance] = own
        if changed:
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            await self._kube.patch(CONFIG_MAPS, self._namespace, self._name, {"metadata": version, "data": changed})
        return living

    async def _create(self, own: str) -> Object:
        metadata = {"name": self._name, "namespace": self._namespace, "labels": {MANAGED_BY_LABEL: MANAGED_BY}}
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {self._instance: own}}
        try:
            return await self._kube.create(CONFIG_MAPS, self._namespace, body)
        except AlreadyExists:  # another replica was faster
            return await self._kube.get(CONFIG_MAPS, self._namespace, self._name)


def living_of(published: dict[str, str], now: datetime) -> dict[str, str]:
    """The replicas whose newest certificate is valid, at most LIMIT of them."""
    expiries = {instance: _expires(pem) for instance, pem in published.items()}
    newest = sorted((instance for instance in published if expiries[instance] > now), key=lambda each: expiries[each])
    return {instance: published[instance] for instance in sorted(newest[-LIMIT:])}


def bundle(published: dict[str, str]) -> str:
    """All authorities in one PEM file, as the clients of jobs read it."""
    return "".join(published[instance] for instance in sorted(published))


def _expires(pem: str) -> datetime:
    try:
        return max(certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:  # somebody else's entry
        return datetime.min.replace(tzinfo=UTC)
