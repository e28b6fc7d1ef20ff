from __future__ import annotations

from pathlib import Path

import pytest
import torch

from redshank.dataset import read_manifest
from training.batches import Batches, field_images
from training.data import TrainingData, load_data
from training.style import StyleShares
from training.views import Views

from .conftest import MakeManifest

PLAIN = Views()
FOURIER = StyleShares(fourier=1.0)


@pytest.fixture
def data(make_manifest: MakeManifest, tmp_path: Path) -> TrainingData:
    manifest = read_manifest(make_manifest(("north", "south", "field")))
    return load_data(manifest, 16, tmp_path / "x.npy", lambda _p, _d, _t: None)


def batches(
    data: TrainingData,
    seed: int = 0,
    unlabelled: int = 9,
    share: float = 0.5,
    views: Views = PLAIN,
) -> Batches:
    return Batches(
        data,
        labelled=4,
        unlabelled=unlabelled,
        field_share=share,
        views=views,
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


def test_domains_come_along_and_styles_change_strong_views_only(data: TrainingData) -> None:
    plain = batches(data).batch(2)
    assert plain.domain_L.tolist() == data.domain_N[batches(data)._labelled.batch(2)].tolist()
    assert sorted(set(plain.domain_U.tolist())) == [0, 1, 2]
    one = batches(data, views=Views(style=FOURIER)).batch(2)
    assert torch.equal(plain.labelled_L3HW, one.labelled_L3HW)
    assert torch.equal(plain.weak_U3HW, one.weak_U3HW)
    assert not torch.equal(plain.strong_U3HW, one.strong_U3HW)
    both = batches(data, views=Views(style=FOURIER, style_labelled=True)).batch(2)
    assert not torch.equal(plain.labelled_L3HW, both.labelled_L3HW)


def test_styles_of_share_zero_change_no_number(data: TrainingData) -> None:
    plain, off = batches(data), batches(data, views=Views(style_labelled=True))
    for name in ("labelled_L3HW", "weak_U3HW", "strong_U3HW"):
        assert torch.equal(getattr(plain.batch(3), name), getattr(off.batch(3), name))


def test_labelled_views_can_be_as_strong_as_the_others(data: TrainingData) -> None:
    weak = batches(data, views=Views(colour_jitter=0.0)).batch(1)
    strong = batches(data, views=Views(colour_jitter=0.0, strong_labelled=True)).batch(1)
    assert strong.labelled_L3HW.shape == weak.labelled_L3HW.shape
    assert torch.equal(strong.label_L, weak.label_L)
    levels = 255.0 * weak.labelled_L3HW  # a shift keeps the levels of uint8, rotation does not
    assert (levels - levels.round()).abs().max() < 1e-3
    levels = 255.0 * strong.labelled_L3HW
    assert (levels - levels.round()).abs().max() > 0.1
