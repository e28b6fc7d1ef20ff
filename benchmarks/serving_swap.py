"""Requests that fail while the release changes again and again under load: there should be none.

`python -m benchmarks.serving_swap` serves with two workers, asks with closed-loop clients, and
publishes two bundles in turn. Their classes have different names, so that an answer whose class and
version disagree is found too. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.serving_load import LoadResult, closed_loop, picture, running_server, write_network

BUNDLES = {"20261122T090000-aaaaaa": "a", "20261122T100000-bbbbbb": "b"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--every-s", type=float, default=2.0)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    images = [picture(seed) for seed in range(64)]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for number, (bundle, word) in enumerate(BUNDLES.items()):
            write_network(home / "bundles" / bundle, word=word, seed=number)
        first, second = BUNDLES
        with running_server(home, workers=2, bundle=first) as server:
            done = threading.Event()
            found: list[LoadResult] = []

            def load() -> None:
                found.append(
                    closed_loop(
                        server.port,
                        clients=options.clients,
                        images=images,
                        go_on=lambda _: not done.is_set(),
                    )
                )

            thread = threading.Thread(target=load)
            thread.start()
            published = []
            for number in range(options.swaps):
                time.sleep(options.every_s)
                bundle = second if number % 2 == 0 else first
                published.append((time.monotonic(), bundle))
                server.registry.publish(bundle, actor="benchmark", reason="", at_s=time.time())
            time.sleep(options.every_s)
            done.set()
            thread.join()
    print_table(found[0], published)


def print_table(result: LoadResult, published: list[tuple[float, str]]) -> None:
    """Failures, mislabelled answers, how long the old release still answered, latency."""
    mislabelled = sum(
        not answer["class"].startswith(BUNDLES[answer["version"]] + "-")
        for _, _, answer in result.answers
    )
    last_old_s = [0.0]
    ends = [moment for moment, _ in published[1:]] + [float("inf")]
    for (moment, bundle), end in zip(published, ends, strict=True):
        late = [
            at - moment
            for at, _, answer in result.answers
            if moment < at < end and answer["version"] != bundle
        ]
        last_old_s.append(max(late, default=0.0))
    latency_ms = np.array([answer[1] for answer in result.answers])
    swapping = np.zeros(len(latency_ms), dtype=bool)
    for index, (at, _, _) in enumerate(result.answers):
        swapping[index] = any(0 <= at - moment < 1.0 for moment, _ in published)
    print(
        "| requests | swaps | failed | mislabelled | last old answer s | p99 ms | p99 in swap ms |"
    )
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {len(result.answers)} | {len(published)} | {len(result.failures)} | {mislabelled} "
        f"| {max(last_old_s):.2f} | {np.quantile(latency_ms[~swapping], 0.99):.1f} "
        f"| {np.quantile(latency_ms[swapping], 0.99):.1f} |"
    )
    for failure in result.failures[:5]:
        print(failure)


if __name__ == "__main__":
    main()
