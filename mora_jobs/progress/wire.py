"""One POST of a report: authentication, TLS, size. Knows nothing of when to send."""

import logging
import os
import ssl
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import httpx

from mora_jobs.api.budget import cut, encoded
from mora_jobs.api.progress import (
    CA_VARIABLE,
    MAX_BODY_BYTES,
    TOKEN_VARIABLE,
    URL_VARIABLE,
    ProgressReply,
    ProgressReport,
)

log = logging.getLogger(__name__)

TIMEOUT = 10.0
KEEPALIVE = 60.0
MAY_PASS = frozenset({401, 403, 404, 408, 409, 425, 429})
"""Answers that another try may change: tokens are rotated, endpoints restarted. Other 4xx are about the report itself."""


class Outcome(Enum):
    ACKNOWLEDGED = "acknowledged"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


class Wire:
    """Where reports go. `token_file` and `ca_file` are read anew when needed: both are rotated under a running job."""

    def __init__(self, url: str, token_file: str | None = None, ca_file: str | None = None) -> None:
        self.url = url
        self._token_file = token_file
        self._ca_file = ca_file
        self._client: httpx.Client | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Wire | None":
        """The endpoint that the operator or `mora run` names, or None when there is none."""
        url = environment.get(URL_VARIABLE)
        return cls(url, environment.get(TOKEN_VARIABLE), environment.get(CA_VARIABLE)) if url else None

    def post(self, report: ProgressReport) -> tuple[Outcome, ProgressReply | None, str]:
        """Send one report. Returns what came of it, the reply, and one line about what went wrong. Never raises."""
        try:
            response = self._connected().post(self.url, content=fit(report), headers=self._headers())
        except (httpx.HTTPError, OSError, ssl.SSLError) as error:
            self.close()  # the next try reads the CA again
            return Outcome.UNREACHABLE, None, f"{type(error).__name__}: {error}"
        if response.is_success:
            try:
                return Outcome.ACKNOWLEDGED, ProgressReply.model_validate_json(response.content), ""
            except ValueError:
                # Kubeflow's own endpoint answers with something else: received, and nothing is asked of us.
                return Outcome.ACKNOWLEDGED, ProgressReply(), ""
        line = f"{response.status_code} {response.text[:200]}"
        final = 400 <= response.status_code < 500 and response.status_code not in MAY_PASS
        return (Outcome.REFUSED if final else Outcome.UNREACHABLE), None, line

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> httpx.Client:
        if self._client is None:
            context = ssl.create_default_context(cafile=self._ca_file) if self.url.startswith("https://") else True
            # The endpoint is in the cluster or on this machine: never through a proxy.
            # Kept open from report to report: a handshake for each would cost the endpoint more than the report.
            limits = httpx.Limits(keepalive_expiry=KEEPALIVE)
            self._client = httpx.Client(verify=context, timeout=TIMEOUT, trust_env=False, limits=limits)
        return self._client

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._token_file:
            headers["Authorization"] = f"Bearer {Path(self._token_file).read_text().strip()}"
        return headers


def fit(report: ProgressReport) -> bytes:
    """The body of the POST, at most MAX_BODY_BYTES. What is cut lies complete in the artifacts."""
    value = report.to_dict()
    for what in cut(value, MAX_BODY_BYTES):
        log.warning("%s: too long for a report; status.json of the artifacts has it complete", what)
    return encoded(value)
