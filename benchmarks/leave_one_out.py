"""Accuracy on a domain never seen: supervised, FixMatch, FixMatch + FixCLR on the packaged digits.

    python -m benchmarks.leave_one_out --out var/bench/leave_one_out            # 36 trainings
    python -m benchmarks.leave_one_out --out var/bench/leave_one_out --table    # what is there

One domain is left out and tested whole; the other three give 10 labels a class each, their other
images go in unlabelled. The last step's weight average is tested: nothing is chosen on the target.
Each finished cell is a JSON file, so an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from redshank.dataset import write_manifest
from redshank.files import read_json, to_json, write_atomic
from redshank.layouts import scan_folder
from redshank.layouts.splits import keep_labels, make_unseen
from redshank.run import read_run
from redshank.settings import FixCLRSettings, FixMatchSettings, TrainingSettings

TARGETS = ("mnist", "mnist_m", "street", "syn")
IMAGES_PER_CLASS = 200
LABELS_PER_CLASS = 10

BASE = dataclasses.replace(TrainingSettings(), held_out="off", device="cpu", threads=1)
METHODS = {
    "supervised": dataclasses.replace(
        BASE, fixmatch=FixMatchSettings(weight=0.0), fixclr=FixCLRSettings(weight=0.0)
    ),
    "fixmatch": dataclasses.replace(BASE, fixclr=FixCLRSettings(weight=0.0)),
    "fixclr": BASE,
}
TITLES = {"supervised": "labels only", "fixmatch": "FixMatch", "fixclr": "FixMatch + FixCLR"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the missing cells, then print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of cells and digits")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1 (default 3)")
    parser.add_argument("--steps", type=int, default=BASE.steps)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--table", action="store_true", help="train nothing, print what is there")
    options = parser.parse_args(arguments)
    if not options.table:
        build_digits_once(options.out / "digits")
        for seed in range(options.seeds):
            for target in options.targets:
                for method in options.methods:
                    run_cell(options.out, method, target, seed, options.steps)
    print(tables(list(read_cells(options.out))))
    return 0


def build_digits_once(root: Path) -> None:
    """The four benchmark domains, `IMAGES_PER_CLASS` each."""
    from demo.digits import SplitCounts, build_digits

    if not (root / "complete").is_file():
        counts = {domain: SplitCounts(IMAGES_PER_CLASS, 0, 0) for domain in TARGETS}
        build_digits(root, seed=0, counts=counts, workers=1)
        (root / "complete").touch()


def run_cell(out: Path, method: str, target: str, seed: int, steps: int) -> None:
    """Trains and measures one cell, unless its file is there with the same settings."""
    from training.train import train

    settings = dataclasses.replace(METHODS[method], seed=seed, steps=steps)
    path = out / "cells" / f"{method}-{target}-{seed}.json"
    wanted = json.loads(to_json(dataclasses.asdict(settings)))
    if path.is_file() and read_json(path)["settings"] == wanted:
        return
    print(f"{method}, unseen {target}, seed {seed}: {steps} steps", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        manifest = Path(scratch) / "manifest.jsonl"
        write_cell_manifest(out / "digits", manifest, target, seed)
        run = read_run(train(manifest, settings, Path(scratch) / "runs"), verify=False)
    cell = {
        "method": method,
        "target": target,
        "seed": seed,
        "seconds": run.seconds,
        "settings": wanted,
        "metrics": [dataclasses.asdict(row) for row in run.metrics],
    }
    write_atomic(path, to_json(cell))
    print(f"  {100 * target_row(cell)['accuracy']:.1f} %, {run.seconds:.0f} s", file=sys.stderr)


def write_cell_manifest(digits: Path, path: Path, target: str, seed: int) -> None:
    """The target is all test; which images keep their label depends on the seed."""
    listing = scan_folder(digits)
    items = keep_labels(make_unseen(listing.items, [target]), per_class=LABELS_PER_CLASS, seed=seed)
    write_manifest(path, root=str(listing.root.resolve()), classes=listing.classes, items=items)


def read_cells(out: Path) -> Iterator[dict[str, Any]]:
    """All finished cells."""
    for path in sorted((out / "cells").glob("*.json")):
        yield read_json(path)


def target_row(cell: dict[str, Any]) -> dict[str, Any]:
    """The figures of the domain that was left out."""
    return next(row for row in cell["metrics"] if row["domain"] == cell["target"])


def tables(cells: list[dict[str, Any]]) -> str:
    """Accuracy on the unseen domain, then the figures behind it, as Markdown."""
    head = ["method", *TARGETS, "average", "worst", "seeds"]
    lines = ["Accuracy on the unseen domain in %, mean ± standard deviation over seeds:", ""]
    lines += [_row(head), _row(["---"] * len(head))]
    lines += [_row(_accuracy_row(cells, method)) for method in METHODS]
    head = ["method", "pseudo-labels right", "pseudo-labels used", "ECE, unseen", "s a training"]
    lines += ["", "Means over all cells; pseudo-labels are those of the source domains:", ""]
    lines += [_row(head), _row(["---"] * len(head))]
    lines += [_row(_figures_row(cells, method)) for method in METHODS]
    return "\n".join(lines)


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _accuracy_row(cells: list[dict[str, Any]], method: str) -> list[str]:
    means, texts, seeds = [], [], set()
    for target in TARGETS:
        own = [c for c in cells if (c["method"], c["target"]) == (method, target)]
        values = [100 * target_row(cell)["accuracy"] for cell in own]
        seeds.add(len(values))
        if values:
            means.append(statistics.mean(values))
        texts.append(_mean_spread(values))
    average = f"{statistics.mean(means):.1f}" if len(means) == len(TARGETS) else "-"
    worst = f"{min(means):.1f}" if len(means) == len(TARGETS) else "-"
    counts = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    return [TITLES[method], *texts, average, worst, counts]


def _figures_row(cells: list[dict[str, Any]], method: str) -> list[str]:
    own = [cell for cell in cells if cell["method"] == method]
    source = [r for cell in own for r in cell["metrics"] if r["split"] == "train"]
    precision = [100 * r["pseudo_label_precision"] for r in source if r["pseudo_label_precision"]]
    coverage = [100 * r["pseudo_label_coverage"] for r in source]
    error = [100 * target_row(cell)["ece"] for cell in own]
    seconds = [cell["seconds"] for cell in own]
    values = (precision, coverage, error, seconds)
    return [TITLES[method], *(f"{statistics.mean(v):.1f}" if v else "-" for v in values)]


def _mean_spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    raise SystemExit(main())
