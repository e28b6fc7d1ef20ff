from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import InputError
from training.data import TrainingData, check_labels, load_data

from .conftest import MakeManifest


def load(path: Path, tmp_path: Path) -> TrainingData:
    return load_data(read_manifest(path), 16, tmp_path / "x.npy", lambda _p, _d, _t: None)


def test_who_may_be_drawn(make_manifest: MakeManifest, tmp_path: Path) -> None:
    data = load(make_manifest(("north", "south", "field")), tmp_path)
    assert data.source_domains == ("north", "south")
    assert data.target_domains == ("field",)
    labelled = data.labelled_indices()
    assert [len(labelled[d]) for d in ("north", "south")] == [6, 6]
    assert len(data.unlabelled_indices(data.source_domains)["south"]) == 20
    assert len(data.unlabelled_indices(data.target_domains)["field"]) == 20
    assert (data.label_N.numpy()[data.indices("field", "train")] == -1).all()
    assert (data.report_label_N.numpy() >= 0).all()
    assert len(data.indices("north", "val", labelled=True)) == 10


def test_large_domains_are_measured_on_a_spread_with_their_labels(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    data = load(make_manifest(("north", "field")), tmp_path)
    north, field = data.indices("north", "train"), data.indices("field", "train")
    assert np.array_equal(data.measured(north), north)  # few are all measured
    assert len(data.measured(north, 10)) == 10
    assert set(data.labelled_indices()["north"]) <= set(data.measured(north, 10))
    assert set(data.measured(north, 4)) < set(data.labelled_indices()["north"])
    assert np.array_equal(data.measured(field, 5), field[::4])


def test_fold_sees_nothing_of_its_domain_nor_of_the_field(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    fold = load(make_manifest(("north", "south", "field")), tmp_path).without("north")
    assert fold.source_domains == ("south",)
    assert fold.target_domains == ()
    assert set(fold.labelled_indices()) == {"south"}


def manifest_of(*items: Item, classes: tuple[str, ...] = ("a", "b")) -> Manifest:
    return Manifest(classes, Path(), items)


def test_data_that_cannot_train_are_refused_with_the_next_step() -> None:
    unlabelled = Item("1.png", "d")
    with pytest.raises(InputError, match="none of 1 images is labelled"):
        check_labels(manifest_of(unlabelled, classes=()))
    one = Item("1.png", "d", "a")
    with pytest.raises(
        InputError, match="1 of 2 classes have no labelled training image, like 'b'"
    ):
        check_labels(manifest_of(one))
    with pytest.raises(InputError, match="expected at least 2"):
        check_labels(manifest_of(one, classes=("a",)))
    held = dataclasses.replace(one, path="2.png", label="b", split="val")
    with pytest.raises(InputError, match="like 'b'"):
        check_labels(manifest_of(one, held))
    check_labels(manifest_of(one, dataclasses.replace(held, split="train")))
