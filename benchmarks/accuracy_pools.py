"""Models that never saw one domain, and their answers there: labelled pools for accuracy estimates.

    python -m benchmarks.accuracy_pools     # three trainings, about 6 minutes on one core, once

Each source domain of the proofs' digits is left out once. The fold's model is trained on the
others, exported as any other, and asked about the left-out domain and the two that no model ever
sees: as they are, and as simulated cameras take them. Cached under `--root`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo.site_optics import KINDS
from redshank.cli import main as redshank
from redshank.dataset import Manifest, read_manifest, write_manifest
from redshank.files import read_json, write_atomic
from redshank.infer import load_model
from redshank.layouts.splits import make_unseen

from .monitor_pools import ARRAYS, HOME, ROOT, Pool, prepare_pools, site_answers, test_images

UNSEEN = ("street", "optdigits")
"""Domains of the proofs' digits that no model is trained on."""
SEVERITIES = (1.0, 3.0, 5.0)
STEPS = 600


@dataclass(frozen=True)
class Fold:
    """A model, the domain it was trained without, and its answers to domains it never saw."""

    left_out: str
    """Empty: the model of the proofs, of all three source domains."""
    run: Path
    bundle: Path
    sites: tuple[Pool, ...]


def prepare_folds(root: Path = ROOT) -> tuple[Fold, ...]:
    """The proofs' own model first, then one fold a source domain; made where they are not there."""
    prepare_pools(root)
    world = root / "world"
    manifest = read_manifest(world / "digits" / "manifest.jsonl")
    sources = sorted({item.domain for item in manifest.items if item.split == "train"})
    return tuple(_fold(root, world, manifest, name) for name in ("", *sources))


def _fold(root: Path, world: Path, manifest: Manifest, left_out: str) -> Fold:
    home = world if not left_out else root / "folds" / left_out
    if left_out and not any((home / "bundles").glob("*")):
        _train(home, world, manifest, left_out)
    run = next(path for path in sorted((home / "runs").iterdir()) if path.is_dir())
    bundle = next(path for path in sorted((home / "bundles").iterdir()) if path.is_dir())
    unseen = (left_out, *UNSEEN) if left_out else UNSEEN
    kept = root / "folds" / f"{left_out or 'none'}.json"
    if not kept.is_file():
        _photograph(kept, bundle, manifest, unseen)
    with np.load(kept.with_suffix(".npz")) as arrays:
        sites = tuple(
            Pool(**row, **{name: arrays[f"{name}_{i}"] for name in ARRAYS})
            for i, row in enumerate(read_json(kept)["sites"])
        )
    return Fold(left_out, run, bundle, sites)


def _train(home: Path, world: Path, manifest: Manifest, left_out: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    path = home / "manifest.jsonl"
    items = make_unseen(manifest.items, [left_out])
    write_manifest(
        path, root=str((world / "digits").resolve()), classes=manifest.classes, items=items
    )
    changes = {
        "home.root": str(home.resolve()),
        "training.steps": STEPS,
        "training.held_out": "off",
        "training.seed": 0,
        "export.model": "digits",
    }
    options = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    for words in (["train", "--quiet", str(path)], ["export", "NEWEST"]):
        if words[-1] == "NEWEST":
            words[-1] = max(p.name for p in (home / "runs").iterdir() if p.is_dir())
        if redshank([*words, *options]) != 0:
            raise SystemExit(f"redshank {' '.join(words)} failed")


def _photograph(kept: Path, bundle: Path, manifest: Manifest, unseen: Sequence[str]) -> None:
    model, sites = load_model(bundle), []
    for content in unseen:
        images_NHW3, label_N = test_images(manifest, content)
        for kind, severity in [(HOME, 0.0), *((k, s) for k in KINDS for s in SEVERITIES)]:
            sites.append(site_answers(model, content, kind, severity, images_NHW3, label_N))
        print(f"{content}: accuracy {sites[-len(KINDS) * 3 - 1].accuracy:.3f}", flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{name}_{i}": getattr(p, name) for i, p in enumerate(sites) for name in ARRAYS}
    np.savez_compressed(kept.with_suffix(".npz"), **arrays)
    rows = [{n: v for n, v in vars(pool).items() if n not in ARRAYS} for pool in sites]
    write_atomic(kept, json.dumps({"sites": rows}, indent=1).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the folds and print the accuracy of each on domains it never saw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    for fold in prepare_folds(options.root):
        home = [f"{p.content} {p.accuracy:.3f}" for p in fold.sites if p.kind == HOME]
        print(f"without {fold.left_out or 'none of them'}: {', '.join(home)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
