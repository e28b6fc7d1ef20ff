"""The real thing: `redshank serve` in a process of its own, asked over HTTP."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from redshank.events import iter_spool
from redshank.registry import Registry

CHECKOUT = Path(__file__).parents[2]
MakeImage = Callable[[int], bytes]
ONE, TWO = "20261122T090000-aaaaaa", "20261122T100000-bbbbbb"


@dataclass
class Server:
    home: Path
    port: int
    process: subprocess.Popen[bytes]

    def ask(
        self, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """Status, headers, body (JSON where it is JSON)."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data=data, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.headers, _body(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, _body(error.read())

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("/readyz")[0] == 200
        return False


def _body(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


@pytest.fixture
def server(
    tmp_path: Path, free_port: int, write_bundle_folder: Callable[..., Path]
) -> Iterator[Server]:
    write_bundle_folder(tmp_path / "bundles" / ONE)
    write_bundle_folder(tmp_path / "bundles" / TWO, ("rot", "gruen", "blau"))
    Registry(tmp_path / "models", tmp_path / "bundles").publish(
        ONE, actor="test", reason="", at_s=1.0
    )
    settings = (f"home.root={tmp_path}", f"serving.port={free_port}", "serving.workers=2",
                "serving.poll_s=0.05", "serving.flush_s=0.05", "serving.drain_s=1.0")  # fmt: skip
    command = [sys.executable, "-m", "redshank", "serve"]
    for setting in settings:
        command += ["--set", setting]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
    started = Server(tmp_path, free_port, process)
    try:
        until(started.is_ready)
        yield started
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_whole_life(server: Server, image: MakeImage) -> None:
    sent = _frameworks_speak_with_one_voice(server, image)
    sent += _killed_worker_and_swap_fail_no_request(server, image)
    until(lambda: all("onnxruntime" in maps for maps in _libraries(server)))
    assert not any("libtorch" in maps for maps in _libraries(server))
    text = server.ask("/metrics")[2]
    assert "redshank_predictions_total" in text
    _drains_and_ends(server, image)
    events = list(iter_spool(server.home / "spool"))
    # of the killed worker at most what it had not flushed yet is missing
    assert sent - 60 <= len(events) <= sent
    assert {e.outcome for e in events} == {"ok", "invalid_image"}


def _libraries(server: Server) -> list[str]:
    return [Path(f"/proc/{worker}/maps").read_text() for worker in server.workers()]


def _frameworks_speak_with_one_voice(server: Server, image: MakeImage) -> int:
    """BentoML's own routes answer and fail like ours; returns how many events that made."""
    status, _, answer = server.ask("/v1/predict", image(0), {"X-Domain": "gate-1"})
    assert (status, answer["class"], answer["domain"]) == (200, "red", "gate-1")
    as_json = {"Content-Type": "application/json"}
    body = {"image_base64": base64.b64encode(image(1)).decode(), "domain": "gate-2"}
    status, headers, answer = server.ask("/predict", json.dumps(body).encode(), as_json)
    assert (status, answer["class"], answer["domain"]) == (200, "green", "gate-2")
    assert headers["x-request-id"] == answer["request_id"]
    odd = {**as_json, "X-Deadline-Ms": "soon"}
    status, _, answer = server.ask("/predict", json.dumps(body).encode(), odd)
    assert (status, answer["error"]["code"]) == (400, "bad_request")
    not_image = json.dumps({"image_base64": "AAAA"}).encode()
    for path, data, expected, code in (
        ("/predict", not_image, 422, "invalid_image"),
        ("/predict", b'{"image_base64": "?"}', 400, "bad_request"),
        ("/predict", '{"image_base64": "ä"}'.encode(), 400, "bad_request"),
        ("/predict", b"{}", 400, "bad_request"),
        ("/predict", None, 405, "method_not_allowed"),
        ("/nowhere", None, 404, "not_found"),
        ("/v1/predict", b"", 400, "bad_request"),
    ):
        status, headers, answer = server.ask(path, data, as_json)
        assert (status, answer["error"]["code"]) == (expected, code), path
        assert headers["x-request-id"] == answer["error"]["request_id"]
    for path in ("/docs.json", "/openapi.json", "/healthz", "/livez", "/v1/models"):
        assert server.ask(path)[0] == 200, path
    _, headers, page = server.ask("/")
    assert "/static_content/swagger-ui-bundle.js" in page
    assert "script-src 'self';" in headers["content-security-policy"]
    return 3


def _killed_worker_and_swap_fail_no_request(server: Server, image: MakeImage) -> int:
    """Load while a worker is killed, and while the release changes; returns requests answered."""
    stop = threading.Event()
    statuses: list[int] = []
    broken: list[str] = []
    versions: set[str] = set()
    images = [image(n) for n in range(3)]

    def load(first: int) -> None:
        number = first
        while not stop.is_set():
            number += 1
            try:
                status, _, answer = server.ask("/v1/predict", images[number % 3])
            except (OSError, http.client.HTTPException) as error:
                broken.append(str(error))  # the killed worker's open connection
                continue
            statuses.append(status)
            versions.add(answer.get("version", ""))

    threads = [threading.Thread(target=load, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(server.workers()) == 2 and before[0] not in server.workers())
    registry = Registry(server.home / "models", server.home / "bundles")
    registry.publish(TWO, actor="test", reason="", at_s=2.0)
    until(lambda: TWO in versions)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert versions == {ONE, TWO}
    assert len(broken) <= 2  # at most the one request each client had in the killed worker
    return len(statuses)


def _drains_and_ends(server: Server, image: MakeImage) -> None:
    """SIGTERM: not ready first, new work refused in the envelope, then a clean end."""
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.ask("/readyz")[0] == 503, timeout_s=1.0)
    status, _, answer = server.ask("/v1/predict", image(0))
    assert (status, answer["error"]["code"]) == (503, "not_ready")
    assert server.process.wait(timeout=30) == 0


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_supervisor(server: Server) -> None:
    workers = server.workers()
    assert len(workers) == 2
    server.process.kill()
    server.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), timeout_s=20)
