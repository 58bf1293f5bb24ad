"""The progress endpoint of a run, on the loopback device: the same wire as the operator's (mora_jobs.api.progress)."""

import logging
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from mora_jobs.api import Desired, ProgressReply, ProgressReport
from mora_jobs.api.progress import MAX_BODY_BYTES

from .record import JobRecord

log = logging.getLogger(__name__)

PATH = re.compile(r"/v1alpha1/(?P<kind>[A-Za-z]+)/(?P<name>[a-z0-9-]+)/(?P<attempt>[0-9]+)")


class Endpoint:
    """Accepts the drivers' reports into their records. `desired` is what every driver is told."""

    def __init__(self, records: Mapping[str, JobRecord], on_report: Callable[[], None] = lambda: None) -> None:
        self.token = secrets.token_urlsafe(32)
        self.desired = Desired.CONTINUE
        self._records = records
        self._on_report = on_report
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="progress-endpoint", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, key: str, attempt: int) -> str:
        """Where the driver of an attempt reports."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1alpha1/{key}/{attempt}"

    def answer(self, path: str, authorization: str, body: bytes) -> tuple[HTTPStatus, bytes]:
        """Take one report. Status code and body of the answer."""
        if not secrets.compare_digest(authorization.encode(), f"Bearer {self.token}".encode()):
            return HTTPStatus.UNAUTHORIZED, b'{"error": "the bearer token of this run is needed"}'
        place = PATH.fullmatch(path)
        record = self._records.get(f"{place['kind']}/{place['name']}") if place else None
        if place is None or record is None:
            return HTTPStatus.NOT_FOUND, b'{"error": "there is no such job"}'
        if int(place["attempt"]) != record.attempt:
            return HTTPStatus.GONE, b'{"error": "this attempt is over"}'
        try:
            record.accept(ProgressReport.model_validate_json(body), record.attempt)
        except ValidationError as error:
            log.warning("%s sent a report that cannot be read: %s", record.key, error)
            return HTTPStatus.BAD_REQUEST, b'{"error": "not a progress report"}'
        self._on_report()
        return HTTPStatus.OK, ProgressReply(desired=self.desired).model_dump_json(by_alias=True).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if length > MAX_BODY_BYTES:
                    self.close_connection = True
                    self._reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b'{"error": "the report is too long"}')
                    return
                self._reply(
                    *endpoint.answer(self.path, self.headers.get("Authorization", ""), self.rfile.read(length))
                )

            def _reply(self, status: HTTPStatus, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                log.debug(format, *args)

        return Handler
