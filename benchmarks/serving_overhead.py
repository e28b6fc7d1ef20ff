"""CPU milliseconds a request of the whole server, against the bare decode + inference loop.

`python -m benchmarks.serving_overhead` prints a Markdown table. CPU time of the server's process
tree is compared, not latency: that holds on a shared machine too. One worker, a small network of
random weights, 32 x 32 PNG uploads over keep-alive connections; bare loop and server take turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.serving_load import (
    SIDE,
    RunningServer,
    closed_loop,
    picture,
    running_server,
    write_network,
)
from redshank.infer import Model, load_model
from redshank.preprocess import decode_image

BUNDLE = "20261122T090000-aaaaaa"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="requests a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    images = [picture(seed) for seed in range(64)]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        folder = write_network(home / "bundles" / BUNDLE, word="a")
        model = load_model(folder)
        rows: dict[int, list[tuple[float, float, float, float]]] = {1: [], 8: []}
        bare = []
        with running_server(home, workers=1, bundle=BUNDLE) as server:
            measure(server, images, clients=8, requests=500)  # warm
            bare_cpu_ms(model, images, requests=500)
            for _ in range(options.rounds):
                bare.append(bare_cpu_ms(model, images, requests=options.requests))
                for clients, found in rows.items():
                    found.append(
                        measure(server, images, clients=clients, requests=options.requests)
                    )
    print_table(statistics.median(bare), rows)


def bare_cpu_ms(model: Model, images: list[bytes], *, requests: int) -> float:
    """CPU ms of decoding and predicting one image at a time, nothing else."""
    began = time.process_time()
    for number in range(requests):
        image = decode_image(images[number % len(images)], SIDE, SIDE)
        model.predict(image[np.newaxis])
    return 1000 * (time.process_time() - began) / requests


def measure(
    server: RunningServer, images: list[bytes], *, clients: int, requests: int
) -> tuple[float, float, float, float]:
    """CPU ms a request, requests a second, median and 99th percentile of latency in ms."""
    cpu_before, began = server.cpu_s(), time.monotonic()
    result = closed_loop(
        server.port, clients=clients, images=images, go_on=lambda done: done < requests
    )
    seconds = time.monotonic() - began
    time.sleep(1.2)  # let the recorder write its events: they belong to the cost
    cpu_s = server.cpu_s() - cpu_before
    if result.failures:
        raise SystemExit(f"{len(result.failures)} requests failed: {result.failures[0]}")
    count = len(result.answers)
    latency_ms = np.array([answer[1] for answer in result.answers])
    p50, p99 = np.quantile(latency_ms, [0.5, 0.99])
    return 1000 * cpu_s / count, count / seconds, float(p50), float(p99)


def print_table(bare_ms: float, rows: dict[int, list[tuple[float, float, float, float]]]) -> None:
    """Medians over the rounds."""
    print("| clients | CPU ms a request | ÷ bare loop | requests/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    print(f"| bare loop | {bare_ms:.2f} | 1.0 | | | |")
    for clients, found in rows.items():
        cpu_ms, rate, p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"| {clients} | {cpu_ms:.2f} | {cpu_ms / bare_ms:.1f} | {rate:.0f} "
            f"| {p50:.1f} | {p99:.1f} |"
        )


if __name__ == "__main__":
    main()
