import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from demo.processes import free_port
from demo.uploads import Prober, Service, Upload
from redshank.errors import StageError


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.answer(200, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append({**self.headers, "path": self.path})
        if body == b"broken":
            self.answer(422, {"error": {"code": "invalid_image"}})
        else:
            self.answer(200, {"class": "7", "version": "b1"})

    def answer(self, status: int, values: object) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Handler.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def upload(body: bytes = b"image", label: str = "7") -> Upload:
    return Upload("gate", "gate-1", body, "image/png", label, 0.0)


def test_upload_carries_domain_and_scene(server: ThreadingHTTPServer) -> None:
    with contextlib.closing(Service(server.server_port)) as service:
        answer = service.predict(upload())
    assert (answer.status, answer.class_name, answer.version) == (200, "7", "b1")
    assert answer.ok
    assert answer.correct
    headers = Handler.seen[0]
    assert headers["path"] == "/v1/predict"
    assert headers["X-Domain"] == "gate"
    assert headers["X-Sequence-Id"] == "gate-1"
    assert headers["Content-Type"] == "image/png"


def test_wrong_answers_and_refusals_are_told_apart(server: ThreadingHTTPServer) -> None:
    with contextlib.closing(Service(server.server_port)) as service:
        wrong, refused = service.predict(upload(label="3")), service.predict(upload(b"broken"))
    assert wrong.ok
    assert not wrong.correct
    assert refused.status == 422
    assert not refused.ok


def test_predict_all_keeps_the_order(server: ThreadingHTTPServer) -> None:
    bodies = [upload(b"broken" if n % 3 == 0 else b"image") for n in range(12)]
    with contextlib.closing(Service(server.server_port)) as service:
        answers = service.predict_all(bodies, threads=1)
    assert [answer.ok for answer in answers] == [n % 3 != 0 for n in range(12)]


def test_nobody_listening_is_a_failed_request() -> None:
    with contextlib.closing(Service(free_port())) as service:
        answer = service.predict(upload())
        assert answer.status == 0
        assert not service.is_ready()
        with pytest.raises(StageError, match="not ready within"):
            service.wait_ready(0.3, lambda: None)


def test_prober_counts_failures_and_stops(server: ThreadingHTTPServer) -> None:
    probes = [upload(), upload(b"broken")]
    with contextlib.closing(Service(server.server_port)) as service:
        with Prober(service, probes, every_s=0.005) as prober:
            deadline = time.monotonic() + 10
            while len(prober.answers) < 10 and time.monotonic() < deadline:
                time.sleep(0.01)
        count = len(prober.answers)
        assert count >= 10
        assert prober.failed == count // 2
        time.sleep(0.05)
        assert len(prober.answers) == count
    names = [headers["X-Sequence-Id"] for headers in Handler.seen]
    assert len(set(names)) == len(names)
