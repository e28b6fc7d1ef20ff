"""The manifest of the packaged digits: few labels in the source domains, none trained elsewhere.

`mnist`, `mnist_m` and `syn` are sources with a few labels a class; the true class of the others
stays in `hidden_label`, which only reports read. Every other domain is unseen: test images only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from redshank.dataset import Item, Split, write_manifest
from redshank.layouts.splits import keep_labels, make_unseen

from .digits import CLASSES, DigitFile

SOURCES = ("mnist", "mnist_m", "syn")
LABELS_PER_CLASS = 10


def write_digit_manifest(
    root: Path,
    files: Sequence[DigitFile],
    *,
    labels_per_class: int = LABELS_PER_CLASS,
    seed: int = 0,
) -> Path:
    """Write `manifest.jsonl` beside the digit folders and return its path."""
    items: Sequence[Item] = [
        Item(file.path, file.domain, file.label, cast("Split", file.split)) for file in files
    ]
    items = make_unseen(items, {file.domain for file in files} - set(SOURCES))
    items = keep_labels(items, per_class=labels_per_class, seed=seed)
    path = root / "manifest.jsonl"
    write_manifest(path, root=".", classes=CLASSES, items=items)
    return path
