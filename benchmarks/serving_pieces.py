"""Where the CPU time of one answer goes: microseconds an image of each piece, in one process.

`python -m benchmarks.serving_pieces` prints a Markdown table for the small CNN, batches of eight.
The pieces take turns and the least of many rounds counts: other work on the machine only ever adds.
HTTP and sockets are not in it: benchmarks/serving_overhead.py.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from redshank.events import EventWriter
from redshank.fieldstore import FieldStore
from redshank.fingerprint import fingerprints
from redshank.infer import load_model
from redshank.preprocess import decode_image
from redshank.registry import Registry
from serving.engine import Job
from serving.identity import EventIds
from serving.inference import Answer, Inference, Rules
from serving.metrics import Metrics
from serving.observe import MOST_PIXELS, Observer
from serving.recorder import Recorded
from serving.swap import Served, Snapshot

from .serving_load import picture, write_backbone

BUNDLE, SIDE, BATCH, ROUNDS = "20261122T090000-aaaaaa", 32, 8, 100
FLUSHED = 64
"""Batches whose events are written together."""
OBSERVED = MOST_PIXELS // (SIDE * SIDE * BATCH)
"""Batches whose events are made together."""
KEPT = 400
"""Field images that are kept."""
OFF, ON = "all of a batch, recording off", "all of a batch, recording on"
FINGERPRINTS = "fingerprints"


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory() as name:
        print("| piece | CPU µs an image |\n|---|---|")
        for piece, cost_s in costs_s(Path(name)).items():
            print(f"| {piece} | {1e6 * cost_s:.1f} |")


def costs_s(home: Path) -> dict[str, float]:
    """CPU seconds an image of each piece."""
    images = [picture(seed, side=SIDE) for seed in range(BATCH)]
    snapshot = one_bundle(home)
    model = snapshot.live.model
    decoded_NHW3 = np.stack([decode_image(image, SIDE, SIDE) for image in images])
    recorded: list[Recorded] = []
    off, on = (inference(recorded, watched=watched) for watched in (False, True))
    jobs = [job(image, snapshot) for image in images]
    while not recorded:
        on.work(jobs)
    rows = [one for one in recorded[:BATCH] if isinstance(one, str)] * FLUSHED
    with EventWriter(home / "spool", "w1x1") as writer:
        costs = least_s(
            {
                "decode": lambda: [decode_image(image, SIDE, SIDE) for image in images],
                "session": lambda: model.run(decoded_NHW3),
                "session, calibration, novelty": lambda: model.predict(decoded_NHW3),
                OFF: lambda: [off.work(jobs) for _ in range(OBSERVED)],
                FINGERPRINTS: lambda: fingerprints(np.concatenate([decoded_NHW3] * OBSERVED)),
                "sha256": lambda: [hashlib.sha256(image).hexdigest() for image in images],
                ON: lambda: [on.work(jobs) for _ in range(OBSERVED)],
                "writing the events": lambda: writer.append_texts(rows),
            }
        )
    costs["writing the events"] /= FLUSHED
    for piece in (OFF, FINGERPRINTS, ON):
        costs[piece] /= OBSERVED
    return {**costs, "keeping a field image": keeping_s(home / "field", images)}


def inference(recorded: list[Recorded], *, watched: bool) -> Inference:
    """As a worker has it."""
    metrics = Metrics()

    def count(served: Served, domain: str, outcome: str, images: int) -> None:
        labels = (served.model.bundle.model, served.version, domain, served.role, outcome)
        metrics.predicted(labels, images)

    observer = Observer(recorded.extend, count, EventIds(), watched=watched)
    return Inference(observer, metrics, Rules(10**6))


def one_bundle(home: Path) -> Snapshot:
    """A release of the small CNN with random weights, loaded."""
    folder = write_backbone(home / "bundles" / BUNDLE, "small_cnn", side=SIDE)
    registry = Registry(home / "models", home / "bundles")
    registry.publish(BUNDLE, actor="benchmark", reason="", at_s=time.time())
    live = Served(load_model(folder), "live", BUNDLE)
    return Snapshot(registry.read("default"), live, None, None)


def job(image: bytes, snapshot: Snapshot) -> Job[Answer]:
    """A request that has just come in."""
    return Job(
        data=image,
        request_id="0" * 24,
        domain="gate-1",
        sequence_id="",
        client="0" * 16,
        snapshot=snapshot,
        received_at=time.time(),
        started=time.perf_counter(),
        capture=False,
        deadline_s=10.0,
    )


def least_s(pieces: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The cheapest of many rounds, an image; the pieces take turns."""
    costs_s = dict.fromkeys(pieces, math.inf)
    for _ in range(ROUNDS):
        for name, piece in pieces.items():
            began_s = time.thread_time()
            piece()
            costs_s[name] = min(costs_s[name], (time.thread_time() - began_s) / BATCH)
    return costs_s


def keeping_s(folder: Path, images: Sequence[bytes]) -> float:
    """Mean over new scenes of one site."""
    store, began_s = FieldStore(folder), time.thread_time()
    for number in range(KEPT):
        digest = hashlib.sha256(number.to_bytes(4)).hexdigest()
        store.add(
            "gate-1",
            images[number % len(images)],
            sha256=digest,
            received_at=10.0 * number,
            client="c",
            sequence_id="",
            dhash=digest[:16],
            confidence=0.5,
            novelty=0.5,
        )
    return (time.thread_time() - began_s) / KEPT


if __name__ == "__main__":
    main()
