"""A connection to an API server: requests with plain dicts, and every failure as one line.

Unreachable (exit code 3) where nobody answers; UserError (2) for what the API server refused.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from mora_jobs.errors import UserError

from .failures import Unreachable
from .source import Object

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Absent(UserError):
    """There is no such object."""


class Cluster:
    """`namespace` is that of the context, if it has one."""

    def __init__(self, settings: client.Configuration, namespace: str) -> None:
        self._api = client.ApiClient(settings)
        self.namespace = namespace

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> "Cluster":
        """By a kubeconfig as kubectl finds it, or from inside a pod. Contacts nobody yet."""
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        settings = client.Configuration()
        file = str(kubeconfig) if kubeconfig else None
        try:
            config.load_kube_config(file, context=context, client_configuration=settings)
            contexts, active = config.list_kube_config_contexts(file)
            chosen = next((each for each in contexts if each["name"] == context), active)
            namespace = chosen["context"].get("namespace") or "default"
        except (config.ConfigException, OSError, TypeError) as error:
            try:
                config.load_incluster_config(settings)
                namespace = NAMESPACE_FILE.read_text().strip()
            except (config.ConfigException, OSError):
                hint = "give --workdir for a run on this machine, or --kubeconfig"
                raise Unreachable(f"no cluster is configured ({_first_line(error)}); {hint}") from None
        settings.retries = urllib3.Retry(total=0)
        return cls(settings, namespace)

    def request(
        self,
        verb: str,
        path: str,
        what: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """The object that the API server answers with; `what` is what an error message is about."""
        response = self._send(verb, path, query or {}, body, content_type, ANSWER_SECONDS)
        try:
            data = response.data
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(error) from None
        if 200 <= response.status <= 299:
            answer: Object = json.loads(data)
            return answer
        raise _refusal(what, response.status, data)

    def lines(self, path: str, what: str, query: dict[str, str]) -> Iterator[str]:
        """The lines of a text as they come, for as long as it goes on."""
        response = self._send("GET", path, query, None, "application/json", None)
        if not 200 <= response.status <= 299:
            raise _refusal(what, response.status, response.data)
        rest = b""
        try:
            for chunk in response.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(error) from None
        if rest:
            yield rest.decode(errors="replace")

    def _send(
        self,
        verb: str,
        path: str,
        query: dict[str, str],
        body: Object | None,
        content_type: str,
        seconds: float | None,
    ) -> Any:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        request = self._api.param_serialize(
            verb,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds)
        try:
            method, url, headers, payload, _ = request
            return self._api.rest_client.pool_manager.request(
                method,
                url,
                headers=headers,
                body=None if payload is None else json.dumps(payload),
                timeout=timeout,
                preload_content=False,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(error) from None


def _refusal(what: str, status: int, data: bytes) -> Exception:
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        message = data[:200].decode(errors="replace").strip()
    if status == 404:
        if "page not found" in message or "could not find the requested resource" in message:
            return UserError(what, "the MORA CRDs are not installed", "mora crd | kubectl apply --server-side -f -")
        return Absent(what, "there is no such object in this namespace", "see `mora get -A`")
    if status in (401, 403):
        return UserError(what, f"not allowed: {message}", "log in, or ask for the right to do this")
    if 400 <= status < 500:
        return UserError(what, message)
    return Unreachable(f"the API server answered {status}: {message}")


def _unreachable(error: Exception) -> Unreachable:
    return Unreachable(f"the cluster cannot be reached: {_first_line(_reason(error))}")


def _reason(error: BaseException) -> BaseException:
    """What urllib3 wraps: "connection refused" rather than "max retries exceeded"."""
    inner = getattr(error, "reason", None)
    return _reason(inner) if isinstance(inner, BaseException) else error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rpartition(">: ")[2]
