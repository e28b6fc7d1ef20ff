"""CPU milliseconds a request of the whole server, against the bare decode + inference loop.

`python -m benchmarks.serving_overhead` prints a Markdown table; `--backbone resnet18` measures that
network at 224 x 224. CPU time of the server's process tree is compared, not latency: that holds on
a shared machine too. The client's CPU is not counted. One worker, random weights, keep-alive
connections, no image twice. The bare loop decodes and runs one image at a time, as whoever writes
it would; a server with eight clients makes batches, so the same loop in batches of eight is shown
too. Loop, server with everything on (events, metrics, images kept of every site) and server that
records nothing take turns within each round; a ratio is that of one round, the table shows medians
over rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from redshank.infer import Model, calibrated, load_model
from redshank.preprocess import decode_image

from .serving_client import closed_loop_load, post
from .serving_load import RunningServer, picture, running_server, write_backbone

BUNDLE = "20261122T090000-aaaaaa"
SITES = ("site-0", "site-1", "site-2", "site-3")
EVERYTHING = ("serving.capture_domains=" + ",".join(SITES),)
NOTHING = ("serving.record=false",)
BURST = 500
"""Images of a site that are kept at once before the steady rate: `serving.capture_rate`."""
FLUSH_S = 1.2
"""The recorder writes its events every second: they belong to the cost."""
SETTLE_S = 6.0
"""After the warm-up: the images of the burst are still being written."""
BATCH = 8
LEAST_LOOPS = 40
"""Images of one bare loop: fewer say little of a large network."""


@dataclass
class Row:
    """One server at one number of clients; a value a round."""

    cpu_ms: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    """Over the bare loop beside it."""
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
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    is_small = options.backbone == "small_cnn"
    side, kind, sites = (32, "PNG", SITES) if is_small else (224, "JPEG", SITES[:1])
    images = [picture(seed, side=side, kind=kind) for seed in range(512)]
    requests = new_requests(images, sites)
    bare: list[float] = []
    batched: list[float] = []
    rows = {name: Row() for name in ("all on, 8 clients", "all on, 1 client", "off, 8 clients")}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        servers: list[RunningServer] = []
        for label, settings in (("on", EVERYTHING), ("off", NOTHING)):
            home = Path(name) / label
            folder = write_backbone(home / "bundles" / BUNDLE, options.backbone, side=side)
            started = running_server(home, workers=1, bundle=BUNDLE, settings=settings)
            servers.append(stack.enter_context(started))
        model, (on, off) = load_model(folder), servers
        warm = len(sites) * BURST + 100
        for server in servers:
            first = list(itertools.islice(requests, warm))
            closed_loop_load(server.port, first, clients=8, count=warm)
        time.sleep(SETTLE_S)
        few = max(LEAST_LOOPS, options.requests // 5)
        for _ in range(options.rounds):
            bare.append(bare_cpu_ms(model, images, count=few))
            batched.append(bare_cpu_ms(model, images, count=few, batch=BATCH))
            rounds = ((on, 8, options.requests), (off, 8, options.requests), (on, 1, few))
            for row, (server, clients, count) in zip(
                (rows["all on, 8 clients"], rows["off, 8 clients"], rows["all on, 1 client"]),
                rounds,
                strict=True,
            ):
                measure(row, server, list(itertools.islice(requests, count)), clients=clients)
                bare.append(bare_cpu_ms(model, images, count=few))
                row.ratio.append(row.cpu_ms[-1] / statistics.mean(bare[-2:]))
    print_table(bare, batched, rows)


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


def measure(row: Row, server: RunningServer, requests: Sequence[bytes], *, clients: int) -> None:
    """One round of one server."""
    cpu_before_s, count = server.cpu_s(), len(requests)
    load = closed_loop_load(server.port, requests, clients=clients, count=count)
    time.sleep(FLUSH_S)
    cpu_s = server.cpu_s() - cpu_before_s
    if load.failures:
        raise SystemExit(f"{len(load.failures)} requests failed: {load.failures[0]}")
    row.cpu_ms.append(1000 * cpu_s / count)
    row.requests_s.append(load.requests_s)
    row.p50_ms.append(load.quantile_ms(0.5))
    row.p99_ms.append(load.quantile_ms(0.99))


def print_table(bare: Sequence[float], batched: Sequence[float], rows: dict[str, Row]) -> None:
    """Medians over the rounds."""
    one, eight = statistics.median(bare), statistics.median(batched)
    print("| | CPU ms a request | ÷ bare loop | requests/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    print(f"| bare loop | {one:.3f} | 1 | | | |")
    print(f"| bare loop in batches of {BATCH} | {eight:.3f} | {eight / one:.2f} | | | |")
    for name, row in rows.items():
        columns = (row.cpu_ms, row.ratio, row.requests_s, row.p50_ms, row.p99_ms)
        cpu_ms, ratio, rate, p50, p99 = (statistics.median(column) for column in columns)
        print(f"| {name} | {cpu_ms:.3f} | {ratio:.2f} | {rate:.0f} | {p50:.1f} | {p99:.1f} |")
    pairs = zip(rows["all on, 8 clients"].cpu_ms, rows["off, 8 clients"].cpu_ms, strict=True)
    dearer = statistics.median(on / off for on, off in pairs) - 1
    print(f"\nEverything on is {100 * dearer:.1f} % dearer than off (median over rounds).")


if __name__ == "__main__":
    main()
