from __future__ import annotations

from pathlib import Path

import pytest
import torch

from redshank.dataset import read_manifest
from training.batches import Batches, field_images
from training.data import TrainingData, load_data

from .conftest import MakeManifest


@pytest.fixture
def data(make_manifest: MakeManifest, tmp_path: Path) -> TrainingData:
    manifest = read_manifest(make_manifest(("north", "south", "field")))
    return load_data(manifest, 16, tmp_path / "x.npy", lambda _p, _d, _t: None)


def batches(data: TrainingData, seed: int = 0, unlabelled: int = 9, share: float = 0.5) -> Batches:
    return Batches(
        data,
        labelled=4,
        unlabelled=unlabelled,
        field_share=share,
        flip=False,
        colour_jitter=0.5,
        seed=seed,
        device=torch.device("cpu"),
    )


def test_batch_is_a_function_of_seed_and_step(data: TrainingData) -> None:
    first, again, other = batches(data), batches(data), batches(data, seed=1)
    wanted = first.batch(5)
    again.batch(0)
    found = again.batch(5)
    for name in ("labelled_L3HW", "label_L", "weak_U3HW", "strong_U3HW", "report_label_U"):
        assert torch.equal(getattr(wanted, name), getattr(found, name))
    assert not torch.equal(wanted.weak_U3HW, other.batch(5).weak_U3HW)
    assert wanted.labelled_L3HW.shape == (4, 3, 16, 16)
    assert wanted.strong_U3HW.shape == (9, 3, 16, 16)
    assert (wanted.label_L >= 0).all()


def test_target_domains_take_their_even_share_but_not_more_than_allowed(data: TrainingData) -> None:
    assert field_images(data, 9, 0.5) == 3
    assert field_images(data, 9, 0.2) == 1
    assert field_images(data, 9, 0.0) == 0
    one_source = data.without("north")
    assert field_images(one_source, 9, 0.5) == 0  # a fold draws no field images
    assert len(batches(data, share=0.0).batch(0).weak_U3HW) == 9


def test_supervised_training_draws_no_unlabelled_images(data: TrainingData) -> None:
    batch = batches(data, unlabelled=0).batch(0)
    assert batch.weak_U3HW.shape == (0, 3, 16, 16)
    assert batch.strong_U3HW.shape == (0, 3, 16, 16)
