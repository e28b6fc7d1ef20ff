from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from redshank.dataset import Item, read_manifest, write_manifest
from redshank.errors import ConfigError, ConflictError, InputError, StageError
from redshank.nn.checkpoint import load_model
from redshank.run import Run, read_held_out, read_history, read_run
from redshank.settings import (
    FixCLRSettings,
    FixMatchSettings,
    TargetSettings,
    TrainingSettings,
)
from training.data import TrainingData
from training.feasible import check_settings
from training.train import train
from training.workspace import open_workspace, workspace_name

from .conftest import SMALL, MakeManifest


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder / "model.safetensors").state_dict()


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


def without_times(run: Run) -> Run:
    return dataclasses.replace(run, run_id="", created_at="", seconds=0.0, files={})


def test_a_run_holds_what_the_next_stages_read(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest(("north", "south", "field"))
    settings = dataclasses.replace(SMALL, held_out="short", held_out_steps=4)
    seen: list[str] = []
    folder = train(manifest, settings, tmp_path, progress=lambda phase, _d, _t: seen.append(phase))
    run = read_run(folder)  # checks every digest
    assert folder == tmp_path / run.run_id
    assert [path.name for path in tmp_path.iterdir()] == [run.run_id]  # no work folder is left
    assert run.classes == ("upright", "lying")
    assert (run.source_domains, run.target_domains) == (("north", "south"), ("field",))
    assert run.backbone.embedding_dim == load_model(folder / "model.safetensors").embedding_dim
    assert list(dict.fromkeys(seen)) == ["decode", "train", "without north", "without south"]

    held_out = read_held_out(folder)
    assert held_out is not None
    assert held_out.logits_NC.shape == (60, 2)
    assert held_out.domain_N.tolist() == [0] * 30 + [1] * 30
    assert (held_out.label_N >= 0).sum() == 32  # hidden labels stay hidden
    assert (run.temperature.fitted_on, run.temperature.n) == ("held_out", 32)

    rows = {(row.domain, row.split): row for row in run.metrics}
    assert rows["north", "val"].n == 10
    assert rows["north", "val"].role == "source"
    assert rows["field", "train"].role == "target"
    assert rows["field", "train"].pseudo_label_coverage is not None
    history = read_history(folder)
    assert [row.step for row in history] == list(range(1, 13))
    assert history[0].loss_fixclr == 0.0  # the ramp starts at zero
    assert history[-1].loss_fixclr != 0.0


def test_large_domains_cost_a_bounded_number_of_looks(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingData.measured, "__defaults__", (20,))
    settings = dataclasses.replace(SMALL, steps=2, held_out="short", held_out_steps=1)
    folder = train(make_manifest(("north", "south"), unlabelled=40), settings, tmp_path)
    held_out = read_held_out(folder)
    assert held_out is not None
    assert held_out.domain_N.tolist() == [0] * 20 + [1] * 20
    assert (held_out.label_N >= 0).sum() == 32  # 6 labelled and 10 for validation in each
    rows = {(row.domain, row.split): row.n for row in read_run(folder).metrics}
    assert rows == {(d, s): n for d in ("north", "south") for s, n in (("val", 10), ("train", 20))}


def test_equal_seeds_give_equal_weights(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    first, second = train(manifest, SMALL, tmp_path), train(manifest, SMALL, tmp_path)
    assert same(first, second)
    assert without_times(read_run(first)) == without_times(read_run(second))
    other = train(manifest, dataclasses.replace(SMALL, seed=1), tmp_path)
    assert not same(first, other)


def test_hidden_and_validation_labels_never_reach_the_weights(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    path = make_manifest(("north", "south", "field"))
    manifest = read_manifest(path)
    swap = {"upright": "lying", "lying": "upright", "": ""}

    def other(item: Item) -> Item:
        seen = item.label and item.split == "train"
        label = item.label if seen else swap[item.label]
        return dataclasses.replace(item, label=label, hidden_label=swap[item.hidden_label])

    changed = path.with_name("other.jsonl")
    write_manifest(changed, root=".", classes=manifest.classes, items=map(other, manifest.items))
    settings = dataclasses.replace(SMALL, held_out="short", held_out_steps=4)
    one, two = (train(which, settings, tmp_path) for which in (path, changed))
    assert same(one, two)
    first, second = read_held_out(one), read_held_out(two)
    assert first is not None
    assert second is not None
    assert (first.logits_NC == second.logits_NC).all()
    assert (first.label_N != second.label_N).sum() == 20  # the validation labels, no hidden ones
    figures = [
        {(m.domain, m.split): m.accuracy for m in read_run(run).metrics} for run in (one, two)
    ]
    for key, accuracy in figures[0].items():  # figures do see them
        assert figures[1][key] == pytest.approx(1.0 - (accuracy or 0.0))


class InterruptError(Exception):
    """Stands for a killed process."""


@pytest.mark.parametrize("stop", [("train", 5), ("train", 12), ("without south", 3), ("decode", 9)])
def test_resumed_training_is_bit_identical(
    make_manifest: MakeManifest, tmp_path: Path, stop: tuple[str, int]
) -> None:
    manifest = make_manifest()
    settings = dataclasses.replace(SMALL, held_out="short", held_out_steps=4)
    whole = train(manifest, settings, tmp_path / "whole")

    def interrupt(phase: str, done: int, _total: int) -> None:
        if (phase, done) == stop:
            raise InterruptError

    with pytest.raises(InterruptError):
        train(manifest, settings, tmp_path / "cut", progress=interrupt)
    (left,) = (tmp_path / "cut").iterdir()
    assert left.name.startswith(".work-")  # nothing was published
    steps: list[int] = []
    resumed = train(
        manifest,
        settings,
        tmp_path / "cut",
        resume=True,
        progress=lambda phase, done, _t: steps.append(done) if phase == "train" else None,
    )
    assert steps == list(range({5: 5, 12: 9, 3: 13, 9: 1}[stop[1]], 13))  # from the checkpoint on
    assert same(whole, resumed)
    one, two = read_held_out(whole), read_held_out(resumed)
    assert one is not None
    assert two is not None
    assert (one.logits_NC == two.logits_NC).all()
    assert without_times(read_run(whole)) == without_times(read_run(resumed))
    for a, b in itertools.zip_longest(read_history(whole), read_history(resumed)):
        assert dataclasses.replace(a, images_per_s=0) == dataclasses.replace(b, images_per_s=0)


def test_without_resume_a_training_starts_anew(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()

    def interrupt(phase: str, done: int, _total: int) -> None:
        if (phase, done) == ("train", 5):
            raise InterruptError

    with pytest.raises(InterruptError):
        train(manifest, SMALL, tmp_path, progress=interrupt)
    steps: list[int] = []
    train(
        manifest,
        SMALL,
        tmp_path,
        progress=lambda p, d, _t: steps.append(d) if p == "train" else None,
    )
    assert steps == list(range(1, 13))


def test_warm_start_goes_on_from_the_parent(make_manifest: MakeManifest, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, held_out="short", held_out_steps=4)
    parent = train(make_manifest(), settings, tmp_path)
    tiny = dataclasses.replace(SMALL, steps=1, learning_rate=1e-8, ema_decay=0.0)
    child = train(make_manifest(("north", "south", "field")), tiny, tmp_path, parent=parent)
    for name, value in weights(parent).items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(weights(child)[name], value, atol=1e-6, rtol=0)
    run = read_run(child)
    assert run.parent == parent.name
    assert run.target_domains == ("field",)
    assert run.temperature.fitted_on == "held_out"  # folds are off: the parent's are kept
    assert read_held_out(child) is not None


def test_parent_of_another_kind_is_refused(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    parent = train(manifest, SMALL, tmp_path)
    for change in ({"width": 8}, {"image_size": 32}, {"backbone": "resnet18"}):
        with pytest.raises(InputError, match=parent.name):
            train(manifest, dataclasses.replace(SMALL, **change), tmp_path, parent=parent)


@pytest.mark.parametrize(
    "change",
    [
        {"fixmatch": FixMatchSettings(weight=0.0), "fixclr": FixCLRSettings(weight=0.0)},
        {"fixclr": FixCLRSettings(weight=0.0)},
        {"fixmatch": FixMatchSettings(weight=0.0)},
    ],
    ids=["supervised", "fixmatch", "fixclr alone"],
)
def test_parts_of_the_loss_can_be_switched_off(
    make_manifest: MakeManifest, tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = train(make_manifest(), dataclasses.replace(SMALL, **change), tmp_path)
    last = read_history(folder)[-1]
    on = dataclasses.replace(SMALL, **change)
    assert (last.loss_fixclr != 0.0) == (on.fixclr.weight > 0)
    assert last.loss_labelled > 0.0


def test_learns_the_two_shapes_on_a_domain_it_never_saw(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = make_manifest()
    settings = dataclasses.replace(SMALL, width=8, steps=80, held_out="full")
    folder = train(manifest, settings, tmp_path)
    run, held_out = read_run(folder), read_held_out(folder)
    assert held_out is not None
    known = held_out.label_N >= 0
    right = held_out.logits_NC.argmax(1)[known] == held_out.label_N[known]
    assert right.mean() > 0.8
    assert all(row.accuracy > 0.8 for row in run.metrics if row.split == "val" and row.accuracy)


def test_single_source_domain_smaller_than_the_batch_trains_without_folds(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    settings = dataclasses.replace(
        SMALL, held_out="short", labelled_per_step=30, unlabelled_per_step=40, steps=2
    )
    folder = train(make_manifest(("north",), unlabelled=2), settings, tmp_path)
    assert read_held_out(folder) is None
    assert read_run(folder).temperature.fitted_on == "none"  # 10 validation images are too few


def test_same_training_twice_at_once_is_refused(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = make_manifest()
    from redshank.files import sha256_file

    name = workspace_name(sha256_file(manifest), SMALL, None)
    with (
        open_workspace(tmp_path / name, resume=False),
        pytest.raises(ConflictError, match="another process trains"),
    ):
        train(manifest, SMALL, tmp_path)


def test_loss_that_is_not_finite_stops_the_training(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    wild = dataclasses.replace(SMALL, learning_rate=100.0, steps=60)
    with pytest.raises(StageError, match="loss is"):
        train(make_manifest(), wild, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "training.steps is 0, expected 1 to"),
        ({"field_share": 1.5}, "training.field_share is 1.5, expected 0.0 to 0.5"),
        ({"learning_rate": float("nan")}, "training.learning_rate is nan"),
        ({"backbone": "vgg"}, "training.backbone is 'vgg'"),
        ({"backbone": "convnext_tiny", "mixstyle": 0.5}, "MixStyle knows no place in ConvNeXt"),
        ({"target": TargetSettings(class_cap=-1.0)}, "training.target.class_cap is -1.0"),
        ({"fixclr": FixCLRSettings(temperature=0.0)}, "training.fixclr.temperature is 0.0"),
    ],
)
def test_impossible_settings_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(dataclasses.replace(TrainingSettings(), **change))


def test_broken_weights_are_found_before_any_image_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"garbage")
    before = torch.random.get_rng_state()
    with pytest.raises(InputError, match=r"w\.pth is no file of tensors"):
        check_settings(
            dataclasses.replace(SMALL, backbone="resnet18", weights=str(tmp_path / "w.pth"))
        )
    assert torch.equal(torch.random.get_rng_state(), before)
