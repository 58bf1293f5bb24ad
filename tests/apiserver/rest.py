"""Objects of our kinds over plain HTTP: milliseconds each, where kubectl takes a tenth of a second."""

import ssl
from types import TracebackType
from typing import Any, Self

import httpx
from control_plane import Cluster

from mora_jobs.api import GROUP, VERSION


class Rest:
    """A client of one namespace. Field validation is strict, as kubectl's is."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        context = ssl.create_default_context(cafile=str(cluster.ca))
        headers = {"Authorization": f"Bearer {cluster.token}"}
        self._http = httpx.Client(base_url=cluster.url, headers=headers, verify=context, timeout=30)
        self.namespace = namespace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._http.close()

    def create(self, document: dict[str, Any], dry_run: bool = False) -> httpx.Response:
        """POST one of our objects."""
        return self._http.post(self.path(document), json=document, params=_parameters(dry_run))

    def replace(self, document: dict[str, Any], dry_run: bool = False) -> httpx.Response:
        """PUT it over the existing one."""
        path = f"{self.path(document)}/{document['metadata']['name']}"
        return self._http.put(path, json=document, params=_parameters(dry_run))

    def path(self, document: dict[str, Any]) -> str:
        """Where objects of this kind live."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{document['kind'].lower()}s"


def _parameters(dry_run: bool) -> dict[str, str]:
    return {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})


def causes(response: httpx.Response) -> dict[str, str]:
    """What a refusal names: field to messages, one a line."""
    found: dict[str, list[str]] = {}
    for cause in (response.json().get("details") or {}).get("causes", ()):
        found.setdefault(cause.get("field", ""), []).append(cause.get("message", ""))
    return {field: "\n".join(messages) for field, messages in found.items()}
