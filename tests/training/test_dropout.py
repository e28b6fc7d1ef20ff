from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from redshank.dataset import read_manifest
from training.data import TrainingData, load_data
from training.fit import Loop

from .conftest import SMALL, MakeManifest


@pytest.fixture
def data(make_manifest: MakeManifest, tmp_path: Path) -> TrainingData:
    manifest = read_manifest(make_manifest())
    return load_data(manifest, SMALL.image_size, tmp_path / "images.npy", lambda *_: None)


def with_dropout(data: TrainingData) -> Loop:
    """A loop whose network drops features before its head, as many large ones do."""
    loop = Loop(data, SMALL, SMALL.steps, torch.device("cpu"), None)

    def drop(_module: Any, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return functional.dropout(features[0], 0.5)

    loop.model.head.register_forward_pre_hook(drop)
    return loop


def weights_after(loop: Loop, steps: int) -> dict[str, torch.Tensor]:
    for _ in range(steps):
        loop.advance()
    return {name: value.clone() for name, value in loop.model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_dropout_depends_on_seed_and_step_alone(data: TrainingData, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = weights_after(with_dropout(data), 4)
    torch.manual_seed(2)
    second = with_dropout(data)
    weights_after(second, 2)
    second.save(tmp_path / "half.safetensors")
    resumed = with_dropout(data)
    resumed.restore(tmp_path / "half.safetensors")
    torch.rand(7)
    assert equal(first, weights_after(resumed, 2))
    plain = Loop(data, SMALL, SMALL.steps, torch.device("cpu"), None)
    assert not equal(first, weights_after(plain, 4))  # the dropout is there


def test_other_seeds_drop_other_features(data: TrainingData) -> None:
    loops = [with_dropout(data) for _ in range(2)]
    other = dataclasses.replace(SMALL, seed=1)
    loops[1].settings = other  # same start and batches, other noise
    assert not equal(weights_after(loops[0], 2), weights_after(loops[1], 2))


def test_the_callers_random_state_is_left_alone(data: TrainingData) -> None:
    loop = with_dropout(data)
    before = torch.random.get_rng_state()
    loop.advance()
    assert torch.equal(torch.random.get_rng_state(), before)
