"""Fifty thousand hostile uploads: does any end in 5xx, kill a worker, or disturb a good request?

    python -m benchmarks.hostile_uploads --uploads 50000

Two workers answer attackers (see `hostile_bodies` and `hostile_sockets`) and, all the while, an
honest client whose answers must be those of the bundle itself. Exit status 1 unless no answer was
5xx, no worker died, every good request was answered right and memory stayed within the bound.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redshank.infer import load_model
from redshank.preprocess import decode_image

from .hostile_bodies import Attack, attacks
from .hostile_sockets import send, wires
from .serving_load import SIDE, RunningServer, picture, running_server, write_network

BUNDLE = "20261122T090000-aaaaaa"
WORKERS = 2
RSS_BOUND_MIB = 600
"""A worker's memory: 16 bodies of 16 MiB at most, a decoded image of 50 megapixels, the model."""
RAW_SHARE = 0.02
"""Of the uploads, those that go over a raw socket."""


@dataclass
class Seen:
    """What clients and the watcher saw."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(kind, status) -> answers; status 0: the connection was closed without one."""
    good: int = 0
    wrong: list[str] = field(default_factory=list)
    """Good requests that were not answered right."""
    failures: list[str] = field(default_factory=list)
    """Answers of 5xx."""
    pids: set[int] = field(default_factory=set)
    largest_rss_mib: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, status: int, body: bytes) -> None:
        """One hostile upload's answer."""
        with self.lock:
            self.statuses[kind, status] += 1
            if status >= 500:
                self.failures.append(f"{kind}: {status} {body[:200]!r}")


def main() -> int:
    """Attack, watch, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uploads", type=int, default=50_000)
    parser.add_argument("--attackers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        folder = write_network(home / "bundles" / BUNDLE, word="a")
        images = [picture(seed) for seed in range(32)]
        expected = right_answers(folder, images)
        with running_server(home, workers=WORKERS, bundle=BUNDLE) as server:
            seen = attack(
                server, options.uploads, options.attackers, options.seed, images, expected
            )
    return print_table(seen)


def right_answers(folder: Path, images: list[bytes]) -> list[tuple[str, float]]:
    """Class and confidence of each image, by the bundle without any server."""
    model = load_model(folder)
    found = []
    for image in images:
        one = model.predict(decode_image(image, SIDE, SIDE)[None])
        found.append((model.bundle.classes[int(one.class_N[0])], float(one.confidence_N[0])))
    return found


def attack(
    server: RunningServer,
    uploads: int,
    attackers: int,
    seed: int,
    images: list[bytes],
    expected: list[tuple[str, float]],
) -> Seen:
    """All attackers at once, with the honest client and the watcher beside them."""
    seen, done = Seen(), threading.Event()
    raw = int(RAW_SHARE * uploads)
    share = math.ceil((uploads - raw) / attackers)
    beside = [
        threading.Thread(target=_honest, args=(server.port, images, expected, seen, done)),
        threading.Thread(target=_watch, args=(server, seen, done)),
    ]
    work = [
        threading.Thread(target=_upload, args=(server.port, seed * 1000 + n, share, seen))
        for n in range(attackers)
    ]
    work.append(threading.Thread(target=_break_rules, args=(server.port, seed, raw, seen)))
    for thread in [*beside, *work]:
        thread.start()
    for thread in work:
        thread.join()
    done.set()
    for thread in beside:
        thread.join()
    return seen


def _upload(port: int, seed: int, count: int, seen: Seen) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for attack_, _ in zip(attacks(seed), range(count), strict=False):
        status, body = _ask(connection, attack_)
        seen.add(attack_.kind, status, body)


def _ask(connection: http.client.HTTPConnection, attack_: Attack) -> tuple[int, bytes]:
    headers = {name: value.encode("latin-1") for name, value in attack_.headers.items()}
    try:
        connection.request(attack_.method, attack_.path, attack_.body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException, ValueError):  # also what http.client won't send
        connection.close()
        return 0, b""


def _break_rules(port: int, seed: int, count: int, seen: Seen) -> None:
    for wire, _ in zip(wires(seed), range(count), strict=False):
        seen.add(wire.kind, send(port, wire), b"")


def _honest(
    port: int,
    images: list[bytes],
    expected: list[tuple[str, float]],
    seen: Seen,
    done: threading.Event,
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while not done.is_set():
        number = seen.good % len(images)
        try:
            connection.request("POST", "/v1/predict", images[number], {"X-Domain": "benchmark"})
            response = connection.getresponse()
            problem = _compare(response.status, response.read(), expected[number])
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            problem = repr(error)
        seen.good += 1
        if problem:
            seen.wrong.append(problem)
        time.sleep(0.01)


def _compare(status: int, body: bytes, expected: tuple[str, float]) -> str:
    if status != 200:
        return f"{status} {body[:200]!r}"
    answer: dict[str, Any] = json.loads(body)
    right = answer["class"] == expected[0] and abs(answer["confidence"] - expected[1]) < 1e-4
    return "" if right else f"{answer} instead of {expected}"


def _watch(server: RunningServer, seen: Seen, done: threading.Event) -> None:
    while not done.wait(0.2):
        pids = server.worker_pids()
        seen.pids.update(pids)
        for pid in pids:
            with contextlib.suppress(OSError):
                seen.largest_rss_mib = max(seen.largest_rss_mib, rss_mib(pid))


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def print_table(seen: Seen) -> int:
    """Markdown, and the exit status."""
    deaths = max(0, len(seen.pids) - WORKERS)
    rows: list[tuple[str, object]] = [
        ("hostile uploads", sum(seen.statuses.values())),
        ("answers of 5xx", len(seen.failures)),
        ("workers that died", deaths),
        ("good requests in between", seen.good),
        ("good requests not answered right", len(seen.wrong)),
        (f"largest worker, MiB (bound {RSS_BOUND_MIB})", f"{seen.largest_rss_mib:.0f}"),
        *(_kind_rows(seen.statuses)),
    ]
    print("| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    for line in [*seen.failures[:5], *seen.wrong[:5]]:
        print(line, file=sys.stderr)
    too_large = seen.largest_rss_mib > RSS_BOUND_MIB
    return int(bool(seen.failures or deaths or seen.wrong or too_large))


def _kind_rows(statuses: Counter[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    for kind in sorted({kind for kind, _ in statuses}):
        own = sorted((status, n) for (one, status), n in statuses.items() if one == kind)
        yield f"answers to: {kind}", ", ".join(f"{n} x {status or 'none'}" for status, n in own)


if __name__ == "__main__":
    sys.exit(main())
