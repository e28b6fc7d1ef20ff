"""What recording costs: CPU of servers with everything on, against servers that record nothing.

`python -m benchmarks.recording_price` prints a Markdown table for the small CNN with eight clients.
The processor's speed changes by a third from one second to the next on a shared machine, and two
equal servers differ by some percent for as long as they live. So several servers of each kind run
on one core, short loads go to all of them in turn, in random order, and sums over all are
compared; the interval is a bootstrap over windows of ten turns (90 %). A server has its share of
the time only, so images are kept in proportion.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .serving_client import load_process
from .serving_load import RunningServer, picture, running_server, write_backbone
from .serving_overhead import (
    BUNDLE,
    BURST,
    CLIENT_CORE,
    EVERYTHING,
    LOOP_CORE,
    NOTHING,
    SETTLE_S,
    SITES,
    Client,
    new_requests,
    on_core,
)

TURN, TURNS = 400, 10
"""Requests of one load, and loads of one window."""
RESAMPLES = 2000
Array = npt.NDArray[Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", type=int, default=4, help="of each kind")
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    count = options.servers
    keeps = f"serving.capture_per_s={1 / (2 * count)}"
    images = [picture(seed, side=32, kind="PNG") for seed in range(512)]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        servers: list[RunningServer] = []
        with on_core(LOOP_CORE):
            for number in range(2 * count):
                home = Path(name) / str(number)
                write_backbone(home / "bundles" / BUNDLE, "small_cnn", side=32)
                settings = (*EVERYTHING, keeps) if number < count else NOTHING
                started = running_server(home, workers=1, bundle=BUNDLE, settings=settings)
                servers.append(stack.enter_context(started))
        with on_core(CLIENT_CORE):
            client = Client(stack.enter_context(load_process()), new_requests(images, SITES))
        for number in (len(SITES) * BURST + 600, TURN):
            for server in servers:
                client.send(server, clients=8, count=number)
            time.sleep(SETTLE_S)
        print_prices(windows_us(servers, client, options.minutes), count)


def windows_us(servers: Sequence[RunningServer], client: Client, minutes: float) -> Array:
    """CPU us a request: a row a window, a column a server."""
    windows, end_s = [], time.monotonic() + 60 * minutes
    while time.monotonic() < end_s:
        before_s = [server.cpu_s() for server in servers]
        for _ in range(TURNS):
            for server in random.sample(list(servers), len(servers)):
                load = client.send(server, clients=8, count=TURN)
                if load.failures:
                    raise SystemExit(f"{len(load.failures)} failed: {load.failures[0]}")
        took_s = np.array([server.cpu_s() for server in servers]) - before_s
        windows.append(1e6 * took_s / (TURN * TURNS))
    return np.array(windows)


def print_prices(windows_WS: Array, count: int) -> None:
    """The table, and the price with its interval."""
    print("| | CPU µs a request | each server |\n|---|---|---|")
    for name, part_WS in (("all on", windows_WS[:, :count]), ("off", windows_WS[:, count:])):
        each = ", ".join(f"{mean:.0f}" for mean in part_WS.mean(axis=0))
        print(f"| {name} | {part_WS.mean():.1f} | {each} |")
    draws = np.random.default_rng(0).integers(0, len(windows_WS), (RESAMPLES, len(windows_WS)))
    prices = [dearer(windows_WS[draw], count) for draw in draws]
    low, high = np.quantile(prices, (0.05, 0.95))
    print(
        f"\nEverything on is {dearer(windows_WS, count):.1f} % dearer than off "
        f"({low:.1f} to {high:.1f} %), {len(windows_WS)} windows."
    )


def dearer(windows_WS: Array, count: int) -> float:
    """Percent."""
    return float(100 * (windows_WS[:, :count].mean() / windows_WS[:, count:].mean() - 1))


if __name__ == "__main__":
    main()
