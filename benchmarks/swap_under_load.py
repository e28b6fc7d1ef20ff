"""Good and broken releases in random order under load: what fails, what answers wrongly?

    python -m benchmarks.swap_under_load --releases 40

Two workers answer closed-loop clients while the pointer moves between two good bundles and, at
random, to broken ones that skip the checks of `redshank models publish`: a flipped byte, a missing
file, a missing folder, a bundle whose digests fit but whose golden answers are another network's,
one of another model, one whose graph has other classes than its manifest, and a torn pointer file.
Classes of the good bundles have different names, so that an answer whose
class and version disagree is found. Exit status 1 unless nothing failed, nothing was mislabelled,
nothing broken answered and every good release came through.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from redshank.bundle import (
    GOLDEN_FILE,
    MODEL_FILE,
    read_bundle,
    read_golden,
    write_bundle,
    write_golden,
)
from redshank.files import sha256_file
from redshank.registry import Registry

from .serving_load import LoadResult, closed_loop, picture, running_server, write_network

Kind = Literal[
    "good",
    "flipped byte",
    "missing file",
    "missing folder",
    "wrong answers",
    "other model",
    "other classes",
    "torn",
]
BROKEN: tuple[Kind, ...] = get_args(Kind)[1:]
GOOD = {"20261122T090000-aaaaaa": "a", "20261122T100000-bbbbbb": "b"}


@dataclass(frozen=True)
class Moved:
    """One move of the pointer."""

    at_s: float
    """Monotonic."""
    kind: Kind
    live: str
    """The good bundle that ought to answer from now on."""


def main() -> int:
    """Move the pointer again and again, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--releases", type=int, default=40)
    parser.add_argument("--every-s", type=float, default=1.5)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds = draw_kinds(options.releases, seed=options.seed)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for number, (bundle, word) in enumerate(GOOD.items()):
            write_network(home / "bundles" / bundle, word=word, seed=number)
        with running_server(home, workers=2, bundle=next(iter(GOOD))) as server:
            done = threading.Event()
            found: list[LoadResult] = []

            def load() -> None:
                images = [picture(seed) for seed in range(64)]
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
            moves = [
                move(server.registry, kind, number, every_s=options.every_s)
                for number, kind in enumerate(kinds)
            ]
            done.set()
            thread.join()
    return print_table(found[0], moves)


def draw_kinds(releases: int, *, seed: int) -> list[Kind]:
    """Half good, half broken (every way in turn), shuffled, a good one last."""
    broken: list[Kind] = [BROKEN[n % len(BROKEN)] for n in range(releases // 2)]
    good: list[Kind] = ["good" for _ in range(releases - len(broken) - 1)]
    kinds = good + broken
    random.Random(seed).shuffle(kinds)
    return [*kinds, "good"]


def move(registry: Registry, kind: Kind, number: int, *, every_s: float) -> Moved:
    """Move the pointer and let the workers see it for `every_s` seconds."""
    release = registry.read("default")
    good = release.live if release.live in GOOD else release.reason
    if kind == "good":
        good = next(bundle for bundle in GOOD if bundle != good)
        moved = Moved(time.monotonic(), kind, good)
        registry.publish(good, actor="benchmark", reason="", at_s=time.time())
        time.sleep(every_s)
        return moved
    path = registry.release_path("default")
    if kind == "torn":
        whole = path.read_bytes()
        moved = Moved(time.monotonic(), kind, good)
        path.write_bytes(whole[: len(whole) // 2])
        time.sleep(every_s)
        path.write_bytes(whole)
        return moved
    bundle = f"20261122T11{number:04d}-cccccc"
    break_bundle(registry.bundle_path(good), registry.bundle_path(bundle), kind)
    moved = Moved(time.monotonic(), kind, good)
    # `reason` remembers the good one; `swap` checks no digest, unlike `publish`
    registry.swap(release.revision, dataclasses.replace(release, live=bundle, reason=good))
    time.sleep(every_s)
    return moved


def break_bundle(good: Path, folder: Path, kind: Kind) -> None:
    """A broken copy of a good bundle."""
    if kind == "missing folder":
        return
    shutil.copytree(good, folder)
    bundle = dataclasses.replace(
        read_bundle(good), bundle_id=folder.name, classes=tuple(f"x-{n}" for n in range(10))
    )
    if kind == "wrong answers":
        golden = read_golden(folder)
        write_golden(folder, dataclasses.replace(golden, logits_NC=golden.logits_NC[:, ::-1]))
        files = bundle.files | {GOLDEN_FILE: sha256_file(folder / GOLDEN_FILE)}
        bundle = dataclasses.replace(bundle, files=files)
    if kind == "other model":
        bundle = dataclasses.replace(bundle, model="another")
    if kind == "other classes":
        bundle = dataclasses.replace(bundle, classes=(*bundle.classes, "x-10"))
    write_bundle(folder, bundle)
    if kind == "missing file":
        (folder / MODEL_FILE).unlink()
    if kind == "flipped byte":
        data = bytearray((folder / MODEL_FILE).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / MODEL_FILE).write_bytes(data)


def not_taken(answers: Iterable[tuple[float, str]], moves: list[Moved]) -> int:
    """How many good releases no answer ever named before the next move."""
    named = list(answers)
    ends = [moved.at_s for moved in moves[1:]] + [float("inf")]
    return sum(
        moved.kind == "good"
        and not any(moved.at_s < at < end and version == moved.live for at, version in named)
        for moved, end in zip(moves, ends, strict=True)
    )


def last_old_s(answers: Iterable[tuple[float, str]], moves: list[Moved]) -> float:
    """How long after a good release, at worst, an answer still named the bundle before."""
    named = list(answers)
    ends = [moved.at_s for moved in moves[1:]] + [float("inf")]
    late = [
        at - moved.at_s
        for moved, end in zip(moves, ends, strict=True)
        if moved.kind == "good"
        for at, version in named
        if moved.at_s < at < end and version != moved.live
    ]
    return max(late, default=0.0)


def print_table(result: LoadResult, moves: list[Moved]) -> int:
    """Markdown, and the exit status."""
    named = [(at, answer["version"]) for at, _, answer in result.answers]
    mislabelled = sum(
        not answer["class"].startswith(GOOD.get(answer["version"], "?") + "-")
        for _, _, answer in result.answers
    )
    broken = sum(version not in GOOD for _, version in named)
    missed = not_taken(named, moves)
    kinds = Counter(moved.kind for moved in moves)
    latency_ms = np.array([latency for _, latency, _ in result.answers])
    at_s = np.array([at for at, _ in named])
    swapping = np.zeros(len(at_s), dtype=bool)
    for moved in moves:
        swapping |= (at_s >= moved.at_s) & (at_s < moved.at_s + 1.0)
    rows = [
        ("requests", len(result.answers) + len(result.failures)),
        ("good releases", kinds["good"]),
        *((f"broken releases: {kind}", kinds[kind]) for kind in BROKEN),
        ("failed requests", len(result.failures)),
        ("class and version disagree", mislabelled),
        ("answers of a broken bundle", broken),
        ("good releases that never answered", missed),
        (
            "last answer of the old bundle after a good release, s",
            f"{last_old_s(named, moves):.2f}",
        ),
        ("latency ms, median and 99th percentile", _quantiles(latency_ms)),
        ("the same within a second of a move", _quantiles(latency_ms[swapping])),
    ]
    print("| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    for failure in result.failures[:5]:
        print(failure, file=sys.stderr)
    return int(bool(result.failures or mislabelled or broken or missed))


def _quantiles(latency_ms: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.1f}" for value in np.quantile(latency_ms, [0.5, 0.99]))


if __name__ == "__main__":
    sys.exit(main())
