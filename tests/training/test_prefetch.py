from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from redshank.dataset import read_manifest
from training.batches import Batches
from training.data import TrainingData, load_data
from training.prefetch import Prefetched

from .conftest import MakeManifest
from .test_batches import batches


@pytest.fixture
def data(make_manifest: MakeManifest, tmp_path: Path) -> TrainingData:
    manifest = read_manifest(make_manifest(("north", "south")))
    return load_data(manifest, 16, tmp_path / "x.npy", lambda _p, _d, _t: None)


def test_the_same_batches_in_any_order(data: TrainingData) -> None:
    plain = batches(data)
    with Prefetched(batches(data)) as ahead:
        for step in (0, 1, 2, 7, 8, 3):
            expected, found = plain.batch(step), ahead.batch(step)
            assert torch.equal(found.labelled_L3HW, expected.labelled_L3HW)
            assert torch.equal(found.strong_U3HW, expected.strong_U3HW)
            assert torch.equal(found.image_U, expected.image_U)


def test_the_next_step_is_drawn_before_it_is_asked_for(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[int, str] = {}
    second = threading.Event()
    draw = Batches.draw

    def spied(self: Batches, step: int, *, whole: bool = False) -> object:
        drawn[step] = threading.current_thread().name
        if step == 1:
            second.set()
        return draw(self, step, whole=whole)

    monkeypatch.setattr(Batches, "draw", spied)
    with Prefetched(batches(data)) as ahead:
        ahead.batch(0)
        assert second.wait(30)
    assert drawn[1].startswith("prefetch")


def test_an_error_in_the_thread_reaches_the_training(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Batches, _step: int, *, whole: bool = False) -> object:
        raise OSError(f"no image, whole={whole}")

    monkeypatch.setattr(Batches, "draw", broken)
    with Prefetched(batches(data)) as ahead, pytest.raises(OSError, match="no image"):
        ahead.batch(0)
