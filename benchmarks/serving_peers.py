"""Requests a second and CPU a request of other servers around the same model and images.

    python -m benchmarks.serving_peers

The peers (BentoML as its tutorial shows it, Starlette + uvicorn with our features, LitServe) live
in a virtual environment of their own, which this command makes in a temporary folder from the
project's constraints; `--environment` names one that is there already. All servers run at once on
127.0.0.1 with one worker, and take turns within each round; the order turns, too. Ours has
everything on. A ratio is that of one round, the table shows medians.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .serving_client import closed_loop_load, form_post, post
from .serving_load import (
    CHECKOUT,
    free_port,
    picture,
    running_server,
    tree_cpu_s,
    wait_until_answered,
    write_backbone,
)

BUNDLE = "20261122T090000-aaaaaa"
PACKAGES = (
    *("bentoml", "litserve==0.2.19", "starlette", "uvicorn", "uvloop", "httptools", "orjson"),
    *("onnxruntime", "numpy", "pillow", "prometheus_client", "python-multipart"),
)
OURS = "redshank"
Command = Callable[[str, int], list[str]]


@dataclass
class Peer:
    """A server to compare with, and what was measured of it, a value a round."""

    name: str
    command: Command
    """Python of its environment and port -> what to execute."""
    path: str
    probe: str
    form: bool
    """Whether the image comes as a form; else it is the body."""
    wanted: float
    """What the issue wants of our requests a second over its own."""
    port: int = 0
    pid: int = 0
    requests_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


def peers() -> list[Peer]:
    """The servers, ours first."""

    def tutorial(python: str, port: int) -> list[str]:
        service = "benchmarks.peers.tutorial_bentoml:Tutorial"
        address = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(CHECKOUT)]
        return [python, "-m", "bentoml", "serve", service, *address]

    def module(name: str) -> Command:
        return lambda python, port: [python, "-m", f"benchmarks.peers.{name}", str(port)]

    return [
        Peer(OURS, module(""), "/v1/predict", "/readyz", form=False, wanted=1.0),
        Peer("BentoML, tutorial", tutorial, "/predict", "/readyz", form=True, wanted=4.0),
        Peer(
            "Starlette + uvicorn, same features", module("starlette_app"), "/v1/predict", "/readyz",
            form=False, wanted=1.0,
        ),
        Peer("LitServe", module("litserve_app"), "/predict", "/health", form=True, wanted=1.7),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", type=Path, help="virtual environment with the peers")
    parser.add_argument("--requests", type=int, default=800, help="requests a round and server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        home = Path(name)
        environment = options.environment or make_environment(home / "peers")
        bundle = write_backbone(home / "bundles" / BUNDLE, "small_cnn", side=32)
        capture = ("serving.capture_domains=site-0,site-1",)
        ours = running_server(home, workers=1, bundle=BUNDLE, settings=capture)
        server, *others = peers()
        running = stack.enter_context(ours)
        server.port, server.pid = running.port, running.process.pid
        for peer in others:
            stack.enter_context(running_peer(peer, environment, bundle, home))
        measure([server, *others], options.requests, options.rounds, options.clients)
    print_table([server, *others])


def make_environment(folder: Path) -> Path:
    """A virtual environment with the peers, of the versions that the project pins."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    constraints = str(CHECKOUT / "constraints.txt")
    command = [str(folder / "bin" / "pip"), "install", "--quiet", "-c", constraints, *PACKAGES]
    subprocess.run(command, check=True)
    return folder


@contextlib.contextmanager
def running_peer(peer: Peer, environment: Path, bundle: Path, home: Path) -> Iterator[None]:
    """Start one of the others and wait until it answers."""
    peer.port = free_port()
    slug = peer.path.strip("/").replace("/", "-") + str(peer.port)
    variables: Mapping[str, str] = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "REDSHANK_PEER_BUNDLE": str(bundle),
        "REDSHANK_PEER_SPOOL": str(home / f"spool-{slug}"),
        "BENTOML_HOME": str(home / f"bentoml-{slug}"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    with (home / f"{slug}.log").open("wb") as log:
        process = subprocess.Popen(
            peer.command(str(environment / "bin" / "python"), peer.port),
            cwd=CHECKOUT,
            stdout=log,
            stderr=log,
            env=variables,
            start_new_session=True,
        )
    peer.pid = process.pid
    try:
        wait_until_answered(peer.port, peer.probe, process)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):  # LitServe leaves its workers behind
            os.killpg(process.pid, signal.SIGKILL)


def measure(servers: Sequence[Peer], count: int, rounds: int, clients: int) -> None:
    """Rounds in turn; each server begins some of them."""
    images = [picture(seed) for seed in range(256)]
    requests = {peer.name: requests_of(peer, images) for peer in servers}
    for peer in servers:
        warm = 1500 if peer.name == OURS else 200  # the first 500 images of a site are all kept
        closed_loop_load(peer.port, requests[peer.name], clients=clients, count=warm)
    for number in range(rounds):
        turn = number % len(servers)
        for peer in (*servers[turn:], *servers[:turn]):
            before_s = tree_cpu_s(peer.pid)
            load = closed_loop_load(peer.port, requests[peer.name], clients=clients, count=count)
            time.sleep(1.2)  # events are written every second
            if load.failures:
                raise SystemExit(f"{peer.name}: {load.failures[0]}")
            peer.cpu_ms.append(1000 * (tree_cpu_s(peer.pid) - before_s) / count)
            peer.requests_s.append(load.requests_s)
            peer.p50_ms.append(load.quantile_ms(0.5))
            peer.p99_ms.append(load.quantile_ms(0.99))


def requests_of(peer: Peer, images: Sequence[bytes]) -> list[bytes]:
    """The same images in the way that a server takes them."""
    found = []
    for number, image in enumerate(images):
        headers = {"X-Domain": f"site-{number % 2}", "X-Client-Id": f"camera-{number % 16}"}
        if peer.form:
            found.append(form_post(peer.path, "image", image, headers))
        else:
            found.append(post(peer.path, image, headers))
    return found


def print_table(servers: Sequence[Peer]) -> None:
    """Medians over the rounds; ratios of each round to ours."""
    print("| server | requests/s | p50 ms | p99 ms | CPU ms a request | ours ÷ its | wanted |")
    print("|---|---|---|---|---|---|---|")
    ours = servers[0]
    for peer in servers:
        columns = (peer.requests_s, peer.p50_ms, peer.p99_ms, peer.cpu_ms)
        rate, p50, p99, cpu_ms = (statistics.median(column) for column in columns)
        pairs = zip(ours.requests_s, peer.requests_s, strict=True)
        faster = statistics.median(mine / theirs for mine, theirs in pairs)
        goal = "" if peer is ours else f"{faster:.2f} | {peer.wanted:.1f}"
        row = f"| {peer.name} | {rate:.0f} | {p50:.1f} | {p99:.1f} | {cpu_ms:.2f} | "
        print(row + (goal or "| ") + " |")


if __name__ == "__main__":
    main()
