"""Takes over cells that the first form of `benchmarks.leave_one_out` trained.

They lay in `<method>-<target>-<seed>.json` with the settings of that day. One is imported only
where a variant of today has the same settings, and where as many images have no label as that
variant leaves without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from redshank.dataset import Manifest
from redshank.files import read_json
from redshank.layouts.splits import keep_labels, make_unseen
from redshank.records import as_dict, from_dict
from redshank.run import DomainMetrics
from redshank.settings import TrainingSettings
from training.bench.cells import (
    SCHEMA,
    Cell,
    CellPlan,
    changed_settings,
    data_digest,
    find_cell,
    write_cell,
)
from training.bench.protocol import read_images
from training.bench.variants import AS_ASKED, Variant, choose_variants, read_variants

VARIANTS = Path(__file__).with_name("digits.toml")
NAMES = {
    "supervised": "supervised",
    "fixmatch": "fixmatch",
    "fixclr": "fixmatch+fixclr",
    "all72_cj0": "all-labels-weak",
    "all72_cj5": "all-labels-colours",
}
"""Method of an old cell -> variant."""
LABELS_PER_CLASS = 10


def import_cells(folder: Path, out: Path, digits: Path) -> int:
    """Writes the cells that fit into the bench `out`; counts those that were not there yet."""
    images = read_images(str(digits))
    data = data_digest(images)
    base = dataclasses.replace(TrainingSettings(), held_out="off")
    variants = choose_variants(list(NAMES.values()), read_variants(VARIANTS), base)
    known = {variant.name: variant for variant in variants}
    count = 0
    for path, old in _old_cells(folder):
        plan = _plan(known[NAMES[old["method"]]], old, data)
        metrics = tuple(from_dict(DomainMetrics, m, source=str(path)) for m in old["metrics"])
        fits = _fits(plan, old["settings"]) and _unlabelled(metrics) == _expected(images, plan)
        if fits and find_cell(out, plan) is None:
            write_cell(out, plan, _cell(plan, old, metrics, path))
            count += 1
    return count


def _old_cells(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.glob("*.json")):
        values = read_json(path)
        if "schema" not in values and values.get("method") in NAMES:
            yield path, values


def _plan(variant: Variant, old: Mapping[str, Any], data: str) -> CellPlan:
    labels = LABELS_PER_CLASS if variant.labels_per_class == AS_ASKED else None
    settings = dataclasses.replace(variant.settings, seed=old["seed"])
    return CellPlan(variant.name, old["target"], labels, old["seed"], data, settings)


def _fits(plan: CellPlan, old: Mapping[str, Any]) -> bool:
    """Whether the old settings mean what the variant's do: a weight of 0 was `supervised`."""
    then, now = changed_settings(old), changed_settings(as_dict(plan.settings))
    if then.get("fixmatch.weight") == 0.0:
        del then["fixmatch.weight"]
        then["method"] = "supervised"
    return then == now


def _unlabelled(metrics: tuple[DomainMetrics, ...]) -> dict[str, int]:
    return {m.domain: m.n for m in metrics if m.split == "train"}


def _expected(images: Manifest, plan: CellPlan) -> dict[str, int]:
    """Unlabelled training images of each source domain."""
    items = make_unseen(images.items, [plan.target])
    if plan.labels_per_class is None:
        return {}
    found: dict[str, int] = {}
    for item in keep_labels(items, per_class=plan.labels_per_class, seed=plan.seed):
        if item.split == "train" and not item.label:
            found[item.domain] = found.get(item.domain, 0) + 1
    return found


def _cell(
    plan: CellPlan, old: Mapping[str, Any], metrics: tuple[DomainMetrics, ...], path: Path
) -> Cell:
    return Cell(
        schema=SCHEMA,
        method=plan.method,
        target=plan.target,
        labels_per_class=plan.labels_per_class,
        seed=plan.seed,
        data=plan.data,
        settings=as_dict(plan.settings),
        device="cpu",
        seconds=old["seconds"],
        images_per_s=None,
        code_version="",
        finished_at="",
        metrics=metrics,
        imported_from=path.name,
    )
