"""CPU milliseconds a request of the whole server, against the bare decode + inference loop.

`python -m benchmarks.serving_overhead` prints a Markdown table; `--backbone resnet18` measures that
network at 224 x 224. CPU time of the server's process tree is compared, not latency: that holds on
a shared machine too. The client's CPU is not counted. One worker, random weights, keep-alive
connections, no image twice. The bare loop decodes and runs one image at a time, as whoever writes
it would; a server with eight clients makes batches, so the same loop in batches of eight is shown
too. Loop, server with everything on (events, metrics, images kept of every site) and server that
records nothing take turns within each round. A ratio is that of neighbours in one round; medians
over the rounds are shown, and how far they may be off by chance (90 %, bootstrap over rounds).

Servers and loop share one core, the client has another where there is one. While others have their
turn a site earns the right to have more images kept; that is used up before each measurement, so
what is measured is a server under steady load.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from redshank.infer import Model, calibrated, load_model
from redshank.preprocess import decode_image

from .serving_client import Load, load_process, post
from .serving_load import RunningServer, picture, running_server, write_backbone

BUNDLE = "20261122T090000-aaaaaa"
SITES = ("site-0", "site-1", "site-2", "site-3")
CLIENT_CORE, LOOP_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
EVERYTHING = ("serving.capture_domains=" + ",".join(SITES),)
NOTHING = ("serving.record=false",)
BURST = 500
"""Images of a site that are kept at once before the steady rate: `serving.capture_rate`."""
FLUSH_S = 1.2
"""The recorder writes its events every second: they belong to the cost."""
SETTLE_S = 6.0
"""After the warm-up: the images of the burst are still being written."""
SOAK_S, SHORT_SOAK_S = 1.5, 0.3
"""After the images that were earned in a pause, and after those that were earned meanwhile."""
RESAMPLES = 2000
BATCH = 8
LEAST_LOOPS = 40
"""Images of one bare loop: fewer say little of a large network."""


@dataclass
class Row:
    """One server at one number of clients; a value a round."""

    server: RunningServer
    clients: int
    count: int
    """Requests a round."""
    cpu_ms: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    """Over the bare loops beside it."""
    requests_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="small_cnn")
    parser.add_argument("--requests", type=int, default=1500, help="requests a round and server")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    is_small = options.backbone == "small_cnn"
    side, kind, sites = (32, "PNG", SITES) if is_small else (224, "JPEG", SITES[:1])
    images = [picture(seed, side=side, kind=kind) for seed in range(512)]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        servers: list[RunningServer] = []
        with on_core(LOOP_CORE):
            for label, settings in (("on", EVERYTHING), ("off", NOTHING)):
                home = Path(name) / label
                folder = write_backbone(home / "bundles" / BUNDLE, options.backbone, side=side)
                started = running_server(home, workers=1, bundle=BUNDLE, settings=settings)
                servers.append(stack.enter_context(started))
        with on_core(CLIENT_CORE):
            client = Client(stack.enter_context(load_process()), new_requests(images, sites))
        for server in servers:
            client.send(server, clients=8, count=len(sites) * BURST + 100)
        time.sleep(SETTLE_S)
        loop = Loop(load_model(folder), images, max(LEAST_LOOPS, options.requests // 5))
        on, off = servers
        rows = {
            "all on, 8 clients": Row(on, 8, options.requests),
            "off, 8 clients": Row(off, 8, options.requests),
            "all on, 1 client": Row(on, 1, loop.count),
        }
        measure_all(loop, rows, client, options.rounds, len(sites))
    print_table(loop, rows)


class Client:
    """Loads from a process of its own on another core."""

    def __init__(
        self, load: Callable[[int, list[bytes], int, int], Load], requests: Iterator[bytes]
    ) -> None:
        self._load, self._requests = load, requests

    def send(self, server: RunningServer, *, clients: int, count: int) -> Load:
        """`count` new requests."""
        return self._load(
            server.port, list(itertools.islice(self._requests, count)), clients, count
        )


class Loop:
    """The bare loop, and what it cost so far."""

    def __init__(self, model: Model, images: Sequence[bytes], count: int) -> None:
        self.count = count
        self._model, self._images = model, images
        self.cpu_ms: list[float] = []
        self.batched: list[float] = []

    def run(self) -> None:
        """Once more, one image at a time."""
        with on_core(LOOP_CORE):
            self.cpu_ms.append(bare_cpu_ms(self._model, self._images, count=self.count))

    def run_batches(self) -> None:
        """Once more, in batches."""
        with on_core(LOOP_CORE):
            cpu_ms = bare_cpu_ms(self._model, self._images, count=self.count, batch=BATCH)
            self.batched.append(cpu_ms)


def measure_all(loop: Loop, rows: dict[str, Row], client: Client, rounds: int, sites: int) -> None:
    """All rounds; every other one in the opposite order."""
    turns = list(rows.values())
    rested_s = dict.fromkeys((row.server.port for row in turns), time.monotonic())
    for _ in range(rounds):
        loop.run_batches()
        for row in turns:
            for pause_s in (SOAK_S, SHORT_SOAK_S):
                earned = math.ceil(sites * (time.monotonic() - rested_s[row.server.port])) + sites
                client.send(row.server, clients=8, count=min(earned, sites * BURST))
                rested_s[row.server.port] = time.monotonic()
                time.sleep(pause_s)
            measure(row, loop, client)
            rested_s[row.server.port] = time.monotonic() - FLUSH_S
        turns.reverse()


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process, and those it starts meanwhile, run on one core."""
    former = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, former)


def new_requests(images: Sequence[bytes], sites: Sequence[str]) -> Iterator[bytes]:
    """Requests without end; bytes behind the picture, which no decoder reads, make it a new one."""
    for number in itertools.count():
        image = images[number % len(images)] + number.to_bytes(8)
        site, client = sites[number % len(sites)], f"camera-{number % 16}"
        yield post("/v1/predict", image, {"X-Domain": site, "X-Client-Id": client})


def bare_cpu_ms(model: Model, images: Sequence[bytes], *, count: int, batch: int = 1) -> float:
    """CPU ms an image of decoding, running and the calibrated class, `batch` images at a time."""
    spec = model.bundle.input
    began = time.process_time()
    for start in range(0, count, batch):
        files = [images[number % len(images)] for number in range(start, start + batch)]
        images_NHW3 = np.stack([decode_image(file, spec.height, spec.width) for file in files])
        logits_NC, _ = model.run(images_NHW3)
        calibrated(logits_NC, model.artefact.temperature).argmax(axis=1)
    return 1000 * (time.process_time() - began) / (batch * math.ceil(count / batch))


def measure(row: Row, loop: Loop, client: Client) -> None:
    """One server between two loops."""
    loop.run()
    cpu_before_s = row.server.cpu_s()
    load = client.send(row.server, clients=row.clients, count=row.count)
    loop.run()
    time.sleep(FLUSH_S)
    cpu_ms = 1000 * (row.server.cpu_s() - cpu_before_s) / row.count
    if load.failures:
        raise SystemExit(f"{len(load.failures)} requests failed: {load.failures[0]}")
    row.cpu_ms.append(cpu_ms)
    row.ratio.append(cpu_ms / statistics.mean(loop.cpu_ms[-2:]))
    row.requests_s.append(load.requests_s)
    row.p50_ms.append(load.quantile_ms(0.5))
    row.p99_ms.append(load.quantile_ms(0.99))


def print_table(loop: Loop, rows: dict[str, Row]) -> None:
    """Medians over the rounds."""
    one, eight = statistics.median(loop.cpu_ms), statistics.median(loop.batched)
    print("| | CPU ms a request | ÷ bare loop | 90 % | requests/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    print(f"| bare loop | {one:.3f} | 1 | | | | |")
    print(f"| bare loop in batches of {BATCH} | {eight:.3f} | {eight / one:.2f} | | | | |")
    for name, row in rows.items():
        columns = (row.cpu_ms, row.requests_s, row.p50_ms, row.p99_ms)
        cpu_ms, rate, p50, p99 = (statistics.median(column) for column in columns)
        ratio, low, high = median_and_interval(row.ratio)
        print(
            f"| {name} | {cpu_ms:.3f} | {ratio:.2f} | {low:.2f} to {high:.2f} "
            f"| {rate:.0f} | {p50:.1f} | {p99:.1f} |"
        )
    pairs = zip(rows["all on, 8 clients"].cpu_ms, rows["off, 8 clients"].cpu_ms, strict=True)
    dearer, low, high = (
        100 * (x - 1) for x in median_and_interval([on / off for on, off in pairs])
    )
    print(f"\nEverything on is {dearer:.1f} % dearer than off ({low:.1f} to {high:.1f} %).")


def median_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and 5 % and 95 % of the medians of resamples."""
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), (0.05, 0.95))
    return statistics.median(values), float(low), float(high)


if __name__ == "__main__":
    main()
