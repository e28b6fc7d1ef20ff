"""Every method and switch of training: it changes the weights, and a resumed run repeats them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from redshank.config import load_settings
from redshank.dataset import read_manifest
from redshank.nn.base_methods import BASE_METHODS
from redshank.nn.checkpoint import load_tensors
from redshank.nn.ema import recompute_statistics
from redshank.settings import TrainingSettings
from training.batches import Batches
from training.data import TrainingData, load_data
from training.fit import STATISTICS_BATCHES, fit
from training.parts import initial_model, views_of

from .conftest import MakeManifest

SWITCHES = (
    *(f"method={name}" for name in BASE_METHODS if name != "fixmatch"),
    "alignment=global",
    "alignment=domain",
    "average=late",
    "average_statistics=recomputed",
    "head=cosine",
    "mixstyle=0.5",
    "fixclr.attract=0.5",
    "fixclr.negatives=cross",
    "fixclr.negatives=within",
    "fixclr.per_class=true",
    "fixclr.confidence=hard",
    "fixclr.confidence=soft",
    "fixclr.queue=16",
    "fixclr.projection=8",
)


SIZES = {
    "width": 4,
    "image_size": 16,
    "steps": 7,
    "labelled_per_step": 6,
    "unlabelled_per_step": 8,
    "checkpoint_every": 3,
    "held_out": "off",
    "device": "cpu",
    "fixmatch.threshold": 0.55,  # a fresh network must use some pseudo-labels, not all
    "adaptive.momentum": 0.5,
}


@pytest.fixture(scope="module")
def data(
    make_manifest: MakeManifest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrainingData]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    manifest = read_manifest(make_manifest(("north", "south", "field")))
    yield load_data(manifest, 16, tmp_path_factory.mktemp("x") / "x.npy", lambda *_: None)
    torch.set_num_threads(threads)


def settings_with(switch: str) -> TrainingSettings:
    """A tiny training with one key as a user would set it."""
    keys = (switch, *(f"{name}={value}" for name, value in SIZES.items()))
    return load_settings(
        overrides=[f"training.{key}" for key in keys if key], environment={}
    ).training


class InterruptError(Exception):
    """Stands for a killed process."""


def trained(
    data: TrainingData, settings: TrainingSettings, checkpoint: Path, stop: int = 0
) -> dict[str, Tensor]:
    def interrupt(_phase: str, done: int, _total: int) -> None:
        if done == stop:
            raise InterruptError

    fitted = fit(
        data,
        settings,
        steps=settings.steps,
        device=torch.device("cpu"),
        checkpoint=checkpoint,
        phase="train",
        progress=interrupt,
    )
    return fitted.model.state_dict()


@pytest.fixture(scope="module")
def usual(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return trained(data, settings_with(""), tmp_path_factory.mktemp("usual") / "c.safetensors")


@pytest.mark.parametrize("switch", SWITCHES)
def test_switch_changes_the_weights_and_resumes_bit_by_bit(
    data: TrainingData, usual: dict[str, Tensor], tmp_path: Path, switch: str
) -> None:
    settings = settings_with(switch)
    whole = trained(data, settings, tmp_path / "whole.safetensors")
    with pytest.raises(InterruptError):
        trained(data, settings, tmp_path / "cut.safetensors", stop=5)
    resumed = trained(data, settings, tmp_path / "cut.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], usual[name]) for name in whole if name in usual)


def test_a_finished_checkpoint_gives_the_same_average_again(
    data: TrainingData, tmp_path: Path
) -> None:
    settings = settings_with("average_statistics=recomputed")
    first = trained(data, settings, tmp_path / "c.safetensors")
    again = trained(data, settings, tmp_path / "c.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_late_average_is_the_mean_of_the_last_weights(data: TrainingData, tmp_path: Path) -> None:
    """With the decay at 0 the exponential average is the last model, step by step."""
    seen = []
    for steps in (3, 4):  # a checkpoint of step n, of a training that is longer
        last = dataclasses.replace(
            settings_with(""), steps=4, ema_decay=0.0, checkpoint_every=steps
        )
        path = tmp_path / f"{steps}.safetensors"
        if steps == 3:
            with pytest.raises(InterruptError):
                trained(data, last, path, stop=4)
            tensors, facts = load_tensors(path)
            assert facts["step"] == 3
            seen.append({n[8:]: t for n, t in tensors.items() if n.startswith("average.")})
        else:
            seen.append(trained(data, last, path))
    late = dataclasses.replace(settings_with("average=late"), steps=4, late_share=0.5)
    found = trained(data, late, tmp_path / "late.safetensors")
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (seen[0][name] + seen[1][name]) / 2)


def test_recomputed_statistics_are_those_of_training_views(
    data: TrainingData, tmp_path: Path
) -> None:
    """One fold up: the same weights, their statistics taken by hand in one pass."""
    settings = settings_with("average_statistics=recomputed")
    found = trained(data, settings, tmp_path / "c.safetensors")
    model = initial_model(data, settings).eval()
    model.load_state_dict(found)
    batches = Batches(
        data,
        labelled=settings.labelled_per_step,
        unlabelled=settings.unlabelled_per_step,
        field_share=settings.field_share,
        views=views_of(settings),
        seed=settings.seed,
        device=torch.device("cpu"),
    )
    portions = []
    for step in range(settings.steps, settings.steps + STATISTICS_BATCHES):
        batch = batches.batch(step)
        portions += [batch.weak_U3HW, torch.cat([batch.labelled_L3HW, batch.strong_U3HW])]
    first = torch.nn.Sequential(*list(model.features.children())[:2])  # up to the first BatchNorm
    with torch.no_grad():
        means = [
            first((x - model.mean_3[:, None, None]) / model.std_3[:, None, None]).mean((0, 2, 3))
            for x in portions
        ]
    torch.testing.assert_close(
        found["features.2.running_mean"], torch.stack(means).mean(0), rtol=1e-4, atol=1e-5
    )
    recompute_statistics(model, portions)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, found[name])
    assert not model.training
