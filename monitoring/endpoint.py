"""The evaluator's own endpoint: `/metrics`, the status page and `/healthz`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from redshank.errors import ConflictError

from .board import Board
from .collector import BoardCollector
from .page import fleet_page


@contextmanager
def serve_board(board: Board, host: str, port: int) -> Iterator[str]:
    """Serve in a thread of its own; gives the address.

    Raises:
        ConflictError: the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BoardCollector(board))
    try:
        server = ThreadingHTTPServer((host, port), _handler(board, registry))
    except OSError as error:
        raise ConflictError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="Choose another port with --metrics-port; 0 takes any free one.",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(board: Board, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path == "/":
                self._answer(200, "text/html; charset=utf-8", fleet_page(board).encode())
            elif path == "/healthz":
                self._answer(200, "text/plain; charset=utf-8", b"ok\n")
            else:
                self._answer(404, "text/plain; charset=utf-8", b"no such page\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line."""

    return Handler
