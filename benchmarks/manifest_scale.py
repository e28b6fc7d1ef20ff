"""A manifest of a million images: seconds and memory of each thing that goes through all of it.

    python -m benchmarks.manifest_scale --images 1000000 --out var/bench/manifest_scale

Builds a tree of 10 domains and 100 classes whose class folders are links to one folder of small
PNGs, so that a million paths need no million files, and runs every step in a process of its own.
Memory is that of the process; pages of the mapped cache that it touched count with it. Steps:
`scan` lists the tree and writes the manifest, 10 labels a class kept; `read` reads and
validates it; `split` saves a split file and applies it again; `decode` looks at every image and
decodes it into the training's cache; `start` is a training that goes on, up to its first batch.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

DOMAINS, CLASSES = 10, 100
SIDE_PX = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the tree, run each step in a fresh process, print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True, help="folder of tree and manifest")
    parser.add_argument("--step", choices=STEPS, help="run one step here, print JSON")
    options = parser.parse_args(arguments)
    if options.step:
        print(json.dumps(measure(STEPS[options.step], options.out)))
        return 0
    build_tree(options.out / "tree", options.images)
    print("| step | s | CPU s | peak memory, MiB |\n| --- | --- | --- | --- |")
    for step in STEPS:
        command = [sys.executable, "-m", "benchmarks.manifest_scale", "--step", step]
        done = subprocess.run(
            [*command, "--out", str(options.out)], check=True, stdout=subprocess.PIPE
        )
        found = json.loads(done.stdout)
        figures = (found["seconds"], found["cpu_s"], found["peak_mib"])
        print(f"| {step} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |", flush=True)
    return 0


def build_tree(root: Path, images: int) -> None:
    """`images` paths below 10 domains and 100 classes, each class folder a link."""
    files = root.parent / "files"
    count = math.ceil(images / (DOMAINS * CLASSES))
    if root.is_dir() and len(list(files.iterdir())) == count:
        return
    files.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(files / f"field image {number:06d}.png")
    for domain in range(DOMAINS):
        for label in range(CLASSES):
            link = root / f"site-{domain:02d}" / f"class-{label:03d}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(files.resolve())


def measure(step: Callable[[Path], None], out: Path) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of one step, imports not counted as time."""
    step_started, cpu_started = time.perf_counter(), time.process_time()
    step(out)
    return {
        "seconds": time.perf_counter() - step_started,
        "cpu_s": time.process_time() - cpu_started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def scan(out: Path) -> None:
    """Folder to manifest."""
    from redshank.dataset import write_manifest
    from redshank.layouts import scan_folder
    from redshank.layouts.splits import keep_labels

    listing = scan_folder(out / "tree")
    items = keep_labels(listing.items, per_class=10, seed=0)
    write_manifest(out / "m.jsonl", root=str(listing.root), classes=listing.classes, items=items)


def read(out: Path) -> None:
    """Manifest to checked items, and the counts that `data check` prints."""
    from redshank.dataset import read_manifest
    from redshank.layouts.census import count_domains

    count_domains(read_manifest(out / "m.jsonl"))


def split(out: Path) -> None:
    """Save the split, read it, apply it."""
    from redshank.dataset import read_manifest
    from redshank.layouts.split_file import apply_split, read_split, write_split

    items = read_manifest(out / "m.jsonl").items
    write_split(out / "split.jsonl", items)
    apply_split(items, read_split(out / "split.jsonl"), source="split.jsonl")


def decode(out: Path) -> None:
    """Every image into the cache of a training."""
    from redshank.dataset import read_manifest
    from training.data import load_data

    for path in out.glob("pixels.*"):
        path.unlink()
    load_data(read_manifest(out / "m.jsonl"), SIDE_PX, out / "pixels.npy", _silent)


def start(out: Path) -> None:
    """A training that goes on: manifest, cache, draws, first batch."""
    import torch

    from redshank.dataset import read_manifest
    from redshank.settings import TrainingSettings
    from training.batches import Batches
    from training.data import load_data
    from training.parts import views_of

    settings = TrainingSettings()
    data = load_data(read_manifest(out / "m.jsonl"), SIDE_PX, out / "pixels.npy", _silent)
    batches = Batches(
        data,
        labelled=settings.labelled_per_step,
        unlabelled=settings.unlabelled_per_step,
        field_share=settings.field_share,
        views=views_of(settings),
        seed=0,
        device=torch.device("cpu"),
    )
    batches.batch(0)


def _silent(_phase: str, _done: int, _total: int) -> None:
    pass


STEPS: dict[str, Callable[[Path], None]] = {
    "scan": scan,
    "read": read,
    "split": split,
    "decode": decode,
    "start": start,
}

if __name__ == "__main__":
    raise SystemExit(main())
