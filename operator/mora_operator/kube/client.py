"""The API server as the operator sees it: a handful of verbs over `kubernetes.aio`, and errors one can act upon.

Objects are plain dicts, as the API server sends them: our own kinds and KubeRay's have no generated classes, and the
few built-in ones that we create are rendered as dicts anyway.
"""

import json
from collections.abc import AsyncIterator, Callable

import aiohttp
from kubernetes.aio import client, config

from ..resources import DISCOVERY, Object, Resource

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
FIELD_MANAGER = "mora-operator"
PAGE = 100  # objects that are in memory at once while a kind is listed


class KubeError(Exception):
    """The API server refused a request or could not be reached. `status` is 0 where there was no answer."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class NotFound(KubeError):
    """The object (or its kind) is not there."""


class AlreadyExists(KubeError):
    """An object with this name is there already."""


class Conflict(KubeError):
    """The object has changed since it was read, or is another one (uid)."""


class Invalid(KubeError):
    """The object is malformed: sending it again will not help."""


class Denied(KubeError):
    """The operator has no right to do this, or admission (a quota, a policy) refused it."""


class NotLeading(KubeError):
    """Another replica leads, or may lead by now: nothing is written any more."""


class Transient(KubeError):
    """Overload, a timeout or a broken connection: the request may be repeated, and may also have taken place."""


async def load_configuration() -> client.Configuration:
    """How to reach the API server: the pod's ServiceAccount, or else the kubeconfig file."""
    configuration = client.Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)
    # Retries are the work queue's: it knows about back-off, and it decides anew instead of repeating an old decision.
    configuration.retries = None
    return configuration


class Kube:
    """A connection to the API server. `on_request(verb, resource, status)` is told about every answer.

    `may_write` is asked before every write: a replica that no longer leads gets NotLeading.
    """

    def __init__(
        self,
        configuration: client.Configuration,
        on_request: Callable[[str, str, int], None] = lambda verb, resource, status: None,
        may_write: Callable[[], bool] = lambda: True,
        timeout: float = 30.0,
    ) -> None:
        # With it, aiohttp looks for ~/.netrc and proxies before every request, in a thread: a fifth of the CPU time.
        configuration.client_session_kwargs = {"trust_env": False}
        self._api = client.ApiClient(configuration)
        self._on_request = on_request
        self._may_write = may_write
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=5.0)

    async def close(self) -> None:
        await self._api.close()

    async def document(self, path: str) -> Object:
        """What the API server says about itself, e.g. /openapi/v3/apis/ray.io/v1. Every account may read it."""
        return await self._request("GET", DISCOVERY, path)

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return await self._request("GET", resource, resource.path(namespace, name))

    async def list_all(
        self, resource: Resource, namespace: str | None, selector: str = "", *, fields: str = ""
    ) -> AsyncIterator[Object]:
        """All objects of a kind, read page by page; apiVersion and kind are left out, as the API server does in lists."""
        token = ""
        while True:
            query = [("limit", str(PAGE)), ("labelSelector", selector), ("fieldSelector", fields), ("continue", token)]
            page = await self._request("GET", resource, resource.path(namespace), [pair for pair in query if pair[1]])
            for item in page["items"]:
                yield item
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
        return await self._request("POST", resource, resource.path(namespace), query, body)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str, version: str) -> None:
        """Delete the object if it still is in the version that was decided about; its dependents in the background."""
        body = {"preconditions": {"uid": uid, "resourceVersion": version}, "propagationPolicy": "Background"}
        await self._request("DELETE", resource, resource.path(namespace, name), body=body)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """A JSON merge patch. With metadata.resourceVersion in it, it holds only for the version that was read."""
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._request("PATCH", resource, resource.path(namespace, name), query, body, MERGE_PATCH)

    async def patch_status(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """A JSON merge patch of the status subresource."""
        query = [("fieldManager", FIELD_MANAGER)]
        path = resource.path(namespace, name, "status")
        return await self._request("PATCH", resource, path, query, body, MERGE_PATCH)

    async def apply_status(self, resource: Resource, namespace: str, name: str, body: Object, manager: str) -> Object:
        """Server-side apply of the status subresource: what `manager` applied before and leaves out now is removed."""
        query = [("fieldManager", manager), ("force", "true")]
        path = resource.path(namespace, name, "status")
        return await self._request("PATCH", resource, path, query, body, APPLY_PATCH)

    async def _request(
        self,
        verb: str,
        resource: Resource,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        if verb != "GET" and not self._may_write():
            raise NotLeading(0, "NotLeading", f"{verb} {path} was not sent: another replica may lead by now")
        request = await self._api.param_serialize(
            verb,
            path,
            query_params=query or [],
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._api.call_api(*request, _request_timeout=self._timeout)
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._on_request(verb, resource.plural, 0)
            raise Transient(0, type(error).__name__, str(error) or "no answer from the API server") from error
        self._on_request(verb, resource.plural, response.status)
        if 200 <= response.status <= 299:
            try:
                answer: Object = json.loads(data)
            except ValueError as error:  # a proxy's page
                raise Transient(response.status, "NotJSON", data[:200].decode(errors="replace")) from error
            return answer
        raise refusal(response.status, data, response.getheader("Retry-After"))


def refusal(status: int, data: bytes, retry_after: str | None) -> KubeError:
    """The error for an answer outside 2xx; its body is a `Status` object, or a proxy's page."""
    try:
        answer = json.loads(data)
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", data[:200].decode(errors="replace")
    match status, reason:
        case 404, _:
            kind: type[KubeError] = NotFound
        case 409, "AlreadyExists":
            kind = AlreadyExists
        case 409, _:
            kind = Conflict
        case ((400 | 405 | 413 | 415 | 422), _):
            kind = Invalid
        case ((401 | 403), _):
            kind = Denied
        case _:
            kind = Transient
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
    return kind(status, reason or "Unknown", message, seconds)
