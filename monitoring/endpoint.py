"""The evaluator's own HTTP endpoint: `/metrics`, `/healthz`, and the console for all else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from redshank.errors import ConflictError

from .collector import BoardCollector
from .console.messages import Answer, Request, text
from .console.render import HEADERS
from .console.site import Console
from .console.sources import Sources
from .retraining_series import RetrainingSeries

MOST_BYTES = 1024 * 1024
"""Of a request's body: Alertmanager's groups are far smaller."""
SLOWEST_S = 20.0
"""A client that sends nothing for so long is dropped."""


@contextmanager
def serve_console(sources: Sources, host: str, port: int) -> Iterator[str]:
    """Serve in threads of its own; gives the address.

    Raises:
        ConflictError: the port is taken.
    """
    try:
        server = _Server((host, port), sources)
    except OSError as error:
        raise ConflictError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="Choose another port with --metrics-port; 0 takes any free one.",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="console", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    """Threads that share one console and one set of metrics."""

    def __init__(self, address: tuple[str, int], sources: Sources) -> None:
        self.console = Console(sources)
        self.registry = CollectorRegistry(auto_describe=False)
        retraining = RetrainingSeries(sources.control, sources.registry)
        self.registry.register(BoardCollector(sources.board, retraining))
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOWEST_S
    server_version, sys_version = "redshank", ""

    def do_GET(self) -> None:
        self._send(self._found())

    def do_HEAD(self) -> None:
        self._send(self._found(), with_body=False)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._send(text(HTTPStatus.LENGTH_REQUIRED, "send Content-Length\n"))
        elif int(length) > MOST_BYTES:
            self._send(text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large\n"))
        else:
            self._send(self._answer("POST", self.rfile.read(int(length))))

    def _found(self) -> Answer:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            return Answer(HTTPStatus.OK, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        if path == "/healthz":
            return text(HTTPStatus.OK, "ok\n")
        return self._answer("GET", b"")

    def _answer(self, method: str, body: bytes) -> Answer:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            return self.server.console.answer(Request(method, self.path, headers, body))
        except Exception:  # a page's fault must not end the evaluator's thread in silence
            logging.getLogger(__name__).exception("%s %s", method, self.path)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "the log says what went wrong\n")

    def _send(self, answer: Answer, *, with_body: bool = True) -> None:
        self.send_response(answer.status)
        for name, value in (*HEADERS, *answer.headers):
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not worth a line."""
