from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from redshank.dataset import Item, Manifest
from redshank.errors import SchemaError
from redshank.records import as_dict
from redshank.run import DomainMetrics
from redshank.settings import TrainingSettings
from training import workspace
from training.bench.cells import (
    UNDECISIVE,
    Cell,
    CellPlan,
    cell_path,
    data_digest,
    find_cell,
    write_cell,
)

SETTINGS = dataclasses.replace(TrainingSettings(), steps=7)
PLAN = CellPlan("mine", "Real World", 10, 3, "abc", SETTINGS)


def cell(plan: CellPlan = PLAN) -> Cell:
    return Cell(
        schema=1,
        method=plan.method,
        target=plan.target,
        labels_per_class=plan.labels_per_class,
        seed=plan.seed,
        data=plan.data,
        settings=as_dict(plan.settings),
        device="cpu",
        seconds=1.5,
        images_per_s=None,
        code_version="0",
        finished_at="2026-11-22T09:00:00Z",
        metrics=(DomainMetrics("Real World", "unseen", "test", 9, 0.5, 0.1, None, None),),
    )


def test_a_cell_is_found_by_its_settings_whatever_its_name(tmp_path: Path) -> None:
    write_cell(tmp_path, PLAN, cell())
    assert find_cell(tmp_path, dataclasses.replace(PLAN, method="other")) == cell()
    assert cell_path(tmp_path, PLAN).name.startswith("Real_World-10-3-")
    assert cell().test.accuracy == 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"target": "Art"},
        {"labels_per_class": None},
        {"seed": 4},
        {"data": "other images"},
        {"settings": dataclasses.replace(SETTINGS, steps=8)},
        {"settings": dataclasses.replace(SETTINGS, width=TrainingSettings().width + 1)},
    ],
)
def test_what_decides_the_figures_makes_another_cell(
    tmp_path: Path, change: dict[str, object]
) -> None:
    write_cell(tmp_path, PLAN, cell())
    assert find_cell(tmp_path, dataclasses.replace(PLAN, **change)) is None  # type: ignore[arg-type]


def test_device_and_threads_do_not() -> None:
    assert set(UNDECISIVE) >= set(workspace.UNDECISIVE)
    settings = dataclasses.replace(SETTINGS, device="cuda", threads=5, checkpoint_every=2)
    assert dataclasses.replace(PLAN, settings=settings).digest == PLAN.digest


def test_a_cell_from_before_a_setting_existed_counts(tmp_path: Path) -> None:
    write_cell(tmp_path, PLAN, cell())
    path = cell_path(tmp_path, PLAN)
    values = json.loads(path.read_bytes())
    del values["settings"]["colour_jitter"]
    path.write_text(json.dumps(values))
    assert find_cell(tmp_path, PLAN) is not None


def test_a_cell_from_before_a_default_changed_does_not(tmp_path: Path) -> None:
    write_cell(tmp_path, PLAN, cell())
    path = cell_path(tmp_path, PLAN)
    values = json.loads(path.read_bytes())
    values["settings"]["fixclr"]["weight"] = 0.123
    path.write_text(json.dumps(values))
    assert find_cell(tmp_path, PLAN) is None


def test_a_cell_without_figures_of_its_target_is_refused(tmp_path: Path) -> None:
    write_cell(tmp_path, PLAN, dataclasses.replace(cell(), metrics=()))
    with pytest.raises(SchemaError, match="no test figures of 'Real World'"):
        find_cell(tmp_path, PLAN)


def test_data_digest_goes_by_items_not_by_place() -> None:
    items = (Item("a.png", "north", "cat"), Item("b.png", "south"))
    here = data_digest(Manifest(("cat",), Path("/here"), items))
    assert here == data_digest(Manifest(("cat",), Path("/there"), items))
    relabelled = (items[0], dataclasses.replace(items[1], label="cat"))
    assert here != data_digest(Manifest(("cat",), Path("/here"), relabelled))
