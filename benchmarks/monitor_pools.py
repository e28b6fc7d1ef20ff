"""Answers of one trained model to what simulated cameras photograph: the streams of the proofs.

    python -m benchmarks.monitor_pools          # train, export, photograph: about 6 minutes, once

A pool is one site: every test image of a digit domain, as one camera of a kind and severity takes
it, and what the bundle answers. Streams are drawn from a pool with replacement, so that a still
stream keeps the null exactly. Everything is cached under `--root` (default var/prove/monitor).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.console import Console
from demo.plan import FULL, MODEL
from demo.settings_file import write_settings
from demo.site_optics import KINDS
from demo.sites import make_site
from demo.steps_model import build_data, export_model, train_model
from demo.summary import Summary
from demo.turn import Turn
from demo.uploads import Service
from demo.workspace import Workspace, fresh_workspace
from redshank.cells import (
    NUM_CONFIDENCE_BINS,
    NUM_NOVELTY_BINS,
    FloatArray,
    IntArray,
    cell_index,
    novelty_bin,
)
from redshank.dataset import Manifest, read_manifest
from redshank.files import read_json, write_atomic
from redshank.infer import Model, load_model
from redshank.registry import Registry

ROOT = Path("var/prove/monitor")
CONTENTS = ("mnist", "syn")
SEVERITIES = (1.0, 2.0, 3.0, 4.0, 5.0)
HOME = "home"
"""Kind of the faithful camera."""
NUM_CLASSES = 10


@dataclass(frozen=True)
class Pool:
    """One site's answers; arrays [N] in the order of its content's test images."""

    content: str
    kind: str
    severity: float
    label_N: IntArray
    class_N: IntArray
    confidence_N: FloatArray
    novelty_N: FloatArray

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float((self.class_N == self.label_N).mean())

    @property
    def cells(self) -> IntArray:
        """Flat cell (predicted class, confidence bin) of each answer, [N]."""
        return cell_index(self.class_N, self.confidence_N)

    @property
    def bins(self) -> IntArray:
        """Confidence bin, and novelty bin counted on behind them, of each answer, [N, 2]."""
        confidence_N = self.cells % NUM_CONFIDENCE_BINS
        return np.stack([confidence_N, NUM_CONFIDENCE_BINS + novelty_bin(self.novelty_N)], axis=1)

    def counts(self, index: IntArray) -> FloatArray:
        """Histogram [..., B] of the answers that `index` [..., n] draws."""
        flat = index.reshape(-1, index.shape[-1])
        bins = NUM_CONFIDENCE_BINS + NUM_NOVELTY_BINS
        rows = np.arange(len(flat))[:, None] * bins
        kinds = self.bins
        total = sum(
            np.bincount((rows + kinds[flat, k]).ravel(), minlength=len(flat) * bins) for k in (0, 1)
        )
        return np.asarray(total, dtype=np.float64).reshape(*index.shape[:-1], bins)


@dataclass(frozen=True)
class Pools:
    """All sites, and the bundle whose answers they hold."""

    bundle: Path
    sites: tuple[Pool, ...]

    def site(self, content: str, kind: str = HOME, severity: float = 0.0) -> Pool:
        """The one of that name."""
        wanted = (content, kind, severity)
        return next(p for p in self.sites if (p.content, p.kind, p.severity) == wanted)

    def harmed(self, *, least_severity: float, least_loss: float) -> Iterator[Pool]:
        """Sites of at least a severity that cost at least so much accuracy against their home."""
        for pool in self.sites:
            lost = self.site(pool.content).accuracy - pool.accuracy
            if pool.severity >= least_severity and lost >= least_loss:
                yield pool


def prepare_pools(root: Path = ROOT) -> Pools:
    """Read the cache; make it when it is not there."""
    if not (root / "pools.json").is_file():
        workspace = _trained_world(root / "world")
        _photograph_all(root, workspace)
    listed = read_json(root / "pools.json")
    with np.load(root / "pools.npz") as arrays:
        sites = tuple(
            Pool(**row, **{name: arrays[f"{name}_{i}"] for name in ARRAYS})
            for i, row in enumerate(listed["sites"])
        )
    return Pools(root / listed["bundle"], sites)


ARRAYS = ("label_N", "class_N", "confidence_N", "novelty_N")


def _trained_world(root: Path) -> Workspace:
    workspace = Workspace(root.resolve())
    if not (workspace.root / "models" / MODEL / "release.json").is_file():
        with fresh_workspace(root) as workspace:
            write_settings(workspace, FULL)
            turn = Turn(workspace, FULL, Console(sys.stderr), Service(0), Summary())
            build_data(turn)
            export_model(turn, train_model(turn))
    return workspace


def _photograph_all(root: Path, workspace: Workspace) -> None:
    registry = Registry(workspace.root / "models", workspace.root / "bundles")
    folder = workspace.root / "bundles" / registry.read(MODEL).live
    model, manifest = load_model(folder), read_manifest(workspace.manifest)
    sites = []
    for content in CONTENTS:
        images_NHW3, label_N = test_images(manifest, content)
        for kind, severity in [(HOME, 0.0), *((k, s) for k in KINDS for s in SEVERITIES)]:
            sites.append(site_answers(model, content, kind, severity, images_NHW3, label_N))
            print(f"{content} {kind} {severity:g}: accuracy {sites[-1].accuracy:.3f}", flush=True)
    arrays = {f"{name}_{i}": getattr(p, name) for i, p in enumerate(sites) for name in ARRAYS}
    np.savez_compressed(root / "pools.npz", **arrays)
    rows = [{n: v for n, v in vars(pool).items() if n not in ARRAYS} for pool in sites]
    listed = {"bundle": str(folder.relative_to(root.resolve())), "sites": rows}
    write_atomic(root / "pools.json", json.dumps(listed, indent=1).encode())


def test_images(manifest: Manifest, content: str) -> tuple[NDArray[np.uint8], IntArray]:
    """Pixels and classes of a domain's test images."""
    items = [i for i in manifest.items if i.domain == content and i.split == "test"]
    images = []
    for item in items:
        with Image.open(manifest.image_path(item)) as image:
            images.append(np.asarray(image.convert("RGB")))
    labels = [manifest.classes.index(item.label or item.hidden_label or "") for item in items]
    return np.stack(images), np.array(labels)


def site_answers(
    model: Model,
    content: str,
    kind: str,
    severity: float,
    images_NHW3: NDArray[np.uint8],
    label_N: IntArray,
) -> Pool:
    """What a model answers to images as one camera takes them."""
    if severity:
        camera = make_site(kind, severity=severity, seed=1)
        rng = np.random.default_rng([3, int(severity), *kind.encode()])
        images_NHW3 = np.stack([camera.photograph(image, rng) for image in images_NHW3])
    found = model.predict(images_NHW3)
    return Pool(
        content, kind, severity, label_N, found.class_N, found.confidence_N, found.novelty_N
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pools and print the accuracy of each site."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    pools = prepare_pools(options.root)
    print(f"{len(pools.sites)} sites, bundle {pools.bundle}")
    return 0


if __name__ == "__main__":  # processes that build the digits import this file again
    raise SystemExit(main())
