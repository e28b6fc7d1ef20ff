"""Real servers for tests: Prometheus, Alertmanager, a worker's metrics, a webhook."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Counter, Gauge, Histogram

from serving.metrics import Metrics

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
LABEL_VALUES = {
    "status": ("200", "503"),
    "route": ("/v1/predict",),
    "outcome": ("ok", "invalid_image"),
    "role": ("live", "shadow"),
    "agrees": ("true", "false"),
}
"""Values of a worker's labels; any other label is `x`."""
SLOWEST_S = 120.0


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, done: Callable[[], Any]) -> Any:
    """Wait until a call gives something true; connection errors mean not yet."""
    give_up = time.monotonic() + SLOWEST_S
    while time.monotonic() < give_up:
        try:
            if found := done():
                return found
        except OSError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"not within {SLOWEST_S:.0f} s: {what}")


def ask(port: int, expr: str) -> list[Any]:
    """What Prometheus answers to an expression now."""
    query = urllib.parse.urlencode({"query": expr})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 503:
                raise ConnectionRefusedError("not ready yet") from error
            raise AssertionError(f"{expr}: {error.read().decode()}") from error


@contextmanager
def process(*command: str) -> Iterator[None]:
    """A server that ends with the block."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as own:
        try:
            yield
        finally:
            own.terminate()
            try:
                own.wait(10)
            except subprocess.TimeoutExpired:
                own.kill()


@contextmanager
def prometheus(folder: Path, targets: list[str], alertmanager: int | None) -> Iterator[int]:
    """Prometheus with our rules, scraping every two seconds; gives its port."""
    config: dict[str, Any] = {
        "global": {
            "scrape_interval": "2s",
            "scrape_timeout": "2s",
            "evaluation_interval": "1s",
        },
        "rule_files": [str(DEPLOY / "rules.yml")],
        "scrape_configs": [{"job_name": "redshank", "static_configs": [{"targets": targets}]}],
    }
    if alertmanager is not None:
        peers = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
        config["alerting"] = {"alertmanagers": peers}
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with process(
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ):
        until("two scrapes", lambda: ask(port, "rate(redshank_domain_images_total[60s])"))
        yield port


@contextmanager
def alertmanager(folder: Path, console: str, hook: str, token: str) -> Iterator[int]:
    """Alertmanager with our example, in a hurry; gives its port."""
    folder.mkdir(parents=True)
    (folder / "token").write_text(token)
    text = (DEPLOY / "alertmanager.example.yml").read_text()
    for ours, here in {
        "http://127.0.0.1:9464": console,
        "http://127.0.0.1:8099": hook,
        "/etc/alertmanager/redshank.token": str(folder / "token"),
        "group_wait: 10s": "group_wait: 0s",
        "group_interval: 1m": "group_interval: 1s",
        "repeat_interval: 12h": "repeat_interval: 1s",
    }.items():
        assert ours in text
        text = text.replace(ours, here)
    (folder / "alertmanager.yml").write_text(text)
    port = free_port()
    with process(
        "prometheus-alertmanager",
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=error",
    ):
        yield port


@contextmanager
def served(answer: Callable[[str, bytes], bytes]) -> Iterator[str]:
    """A server that answers every request with `answer(path, body)`; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = answer(self.path, self.rfile.read(length))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # the library's name

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def worker_metrics() -> Metrics:
    """A serving worker's metrics in which every series has a value."""
    metrics = Metrics()
    for family in vars(metrics).values():
        if isinstance(family, (Counter, Gauge, Histogram)):
            names = family._labelnames
            for values in itertools.product(*(LABEL_VALUES.get(n, ("x",)) for n in names)):
                _count(family.labels(*values) if names else family)
    return metrics


def _count(series: Counter | Gauge | Histogram) -> None:
    if isinstance(series, Histogram):
        series.observe(0.05)
    else:
        series.inc()
