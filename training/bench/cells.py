"""The cell of a bench: one training, and the JSON file of its figures.

    DIR/cells/<target>-<labels>-<seed>-<digest>.json

The digest is of everything that decides the figures, so that equal settings are trained once, also
under two names, and a folder can hold the cells of many tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redshank.dataset import Manifest
from redshank.errors import SchemaError
from redshank.files import read_json, sha256_bytes, to_json, write_atomic
from redshank.records import as_dict, check_schema, from_dict
from redshank.run import DomainMetrics
from redshank.separability import Separability
from redshank.settings import TrainingSettings

SCHEMA = 1
FOLDER = "cells"
UNDECISIVE = (
    "device",
    "threads",
    "checkpoint_every",
    "prefetch",
    "tensorboard",
    "pixels",
    "pixels_memory_mb",
)
"""Settings that change speed and safety, not the figures (beyond rounding); tested against those of
the training's workspace, which needs torch."""


@dataclass(frozen=True)
class CellPlan:
    """A training that a table needs."""

    method: str
    """Name of the variant."""
    target: str
    """The domain left out of training and tested whole."""
    labels_per_class: int | None
    """Labels kept a class and source domain; None: all of them."""
    seed: int
    data: str
    """`data_digest` of all images."""
    settings: TrainingSettings
    """As resolved, with the seed."""

    @property
    def name(self) -> str:
        """Stem of every file of this cell."""
        target = re.sub(r"[^\w.-]+", "_", self.target)
        labels = labels_text(self.labels_per_class)
        return f"{target}-{labels}-{self.seed}-{self.digest}"

    @property
    def digest(self) -> str:
        """Of what decides the figures.

        Settings at their default do not count: a key that a later version adds changes no name.
        """
        decisive = changed_settings(as_dict(self.settings))
        values = [self.target, self.labels_per_class, self.seed, self.data, decisive]
        return sha256_bytes(json.dumps(values, sort_keys=True).encode())[:12]


@dataclass(frozen=True)
class Cell:
    """What one training reached; ratios in [0, 1]."""

    schema: int
    method: str
    """Name under which it was trained; tables go by the settings, not by this."""
    target: str
    labels_per_class: int | None
    seed: int
    data: str
    settings: dict[str, Any]
    """The `[training]` section as resolved."""
    device: str
    seconds: float
    images_per_s: float | None
    """Median over the training; None where nobody noted it."""
    code_version: str
    finished_at: str
    metrics: tuple[DomainMetrics, ...]
    latent: Separability | None = None
    """Of all domains' images; None where nobody measured it."""
    imported_from: str = ""
    """Where it came from, when this folder did not train it."""
    run: str = ""
    """Name of the kept run folder, if it was kept."""

    @property
    def test(self) -> DomainMetrics:
        """The figures of the domain that was left out."""
        return next(m for m in self.metrics if m.domain == self.target and m.split == "test")


def labels_text(labels_per_class: int | None) -> str:
    """`10`, or `all`."""
    return "all" if labels_per_class is None else str(labels_per_class)


def data_digest(manifest: Manifest) -> str:
    """Of classes and items, wherever the root is."""
    lines = [json.dumps(manifest.classes)]
    lines += [
        json.dumps([i.path, i.domain, i.label, i.split, i.sha256, i.hidden_label])
        for i in manifest.items
    ]
    return sha256_bytes("\n".join(lines).encode())


def changed_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from their defaults and decide the figures, flat, by dotted name."""
    defaults = dict(_flat(as_dict(TrainingSettings())))
    return {
        name: value
        for name, value in _flat(values)
        if name not in UNDECISIVE and (name not in defaults or defaults[name] != value)
    }


def cell_path(out: Path, plan: CellPlan) -> Path:
    """Where the cell's figures are, or will be."""
    return out / FOLDER / f"{plan.name}.json"


def find_cell(out: Path, plan: CellPlan) -> Cell | None:
    """The finished cell; None when it is still to be trained.

    A cell whose stored settings are no longer what its name says (a default changed since) counts
    as missing.

    Raises:
        SchemaError: the file is no cell.
    """
    path = cell_path(out, plan)
    if not path.is_file():
        return None
    values = read_json(path)
    check_schema(values, current=SCHEMA, source=str(path))
    cell = from_dict(Cell, values, source=str(path))
    if not any(m.domain == cell.target and m.split == "test" for m in cell.metrics):
        raise SchemaError(f"{path}: no test figures of {cell.target!r}")
    same = changed_settings(cell.settings) == changed_settings(as_dict(plan.settings))
    return cell if same else None


def write_cell(out: Path, plan: CellPlan, cell: Cell) -> None:
    """Makes the figures appear in one rename."""
    write_atomic(cell_path(out, plan), to_json(as_dict(cell)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
