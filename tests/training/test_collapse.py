from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from redshank.dataset import read_manifest
from redshank.errors import StageError
from redshank.nn import pseudo_label_loss
from redshank.settings import FixMatchSettings, TargetSettings
from training.batches import Batch
from training.collapse import WINDOW_STEPS, CollapseGuard, CollapseGuards, class_entropy
from training.data import TrainingData, load_data
from training.parts import teacher_of
from training.step import Losses
from training.teacher import Teacher

from .conftest import SMALL, MakeManifest


def feed(guard: CollapseGuard, counts: list[int], used: int, steps: int = WINDOW_STEPS) -> str:
    return "".join(guard.update(counts, used) for _ in range(steps))


def test_full_use_with_few_classes_is_named() -> None:
    guard = CollapseGuard(4)
    assert feed(guard, [5, 5, 5, 5], 10) == ""
    found = feed(guard, [19, 1, 0, 0], 20)
    assert found == (
        "100% of the pseudo-labels are used, but their class entropy fell to 0.20 nats from 1.39"
    )


@pytest.mark.parametrize(
    ("counts", "used"),
    [([5, 5, 5, 5], 20), ([19, 1, 0, 0], 10)],
    ids=["confident and even", "uneven but unsure"],
)
def test_one_sign_alone_goes_on(counts: list[int], used: int) -> None:
    guard = CollapseGuard(4)
    assert not feed(guard, [5, 5, 5, 5], 10)
    assert not feed(guard, counts, used, 3 * WINDOW_STEPS)


def test_data_that_were_uneven_from_the_start_go_on() -> None:
    guard = CollapseGuard(4)
    assert not feed(guard, [19, 1, 0, 0], 20, 5 * WINDOW_STEPS)


def test_restored_guard_stops_at_the_same_step() -> None:
    guard = CollapseGuard(4)
    feed(guard, [5, 5, 5, 5], 10)
    feed(guard, [20, 0, 0, 0], 20, WINDOW_STEPS - 1)
    other = CollapseGuard(4)
    other.restore(json.loads(json.dumps(guard.state())))
    for one in (guard, other):
        assert "fell to 0.00 nats" in one.update([20, 0, 0, 0], 20)


def test_entropy() -> None:
    assert class_entropy([3, 3, 0]) == pytest.approx(math.log(2))
    assert class_entropy([0, 0]) == 0.0


@pytest.fixture
def data(make_manifest: MakeManifest, tmp_path: Path) -> TrainingData:
    manifest = read_manifest(make_manifest(("north", "south", "field")))
    return load_data(manifest, 16, tmp_path / "x.npy", lambda *_: None)


def harmed(data: TrainingData, steps: int) -> Iterator[tuple[Losses, Tensor]]:
    """Steps in which the field's pseudo-labels run together while the sources stay well."""
    field, zero = data.domains.index("field"), torch.zeros(())
    domain = torch.tensor([d for d in range(3) for _ in range(8)])
    for step in range(steps):
        target = torch.arange(24) % 2
        if step >= WINDOW_STEPS:
            target[domain == field] = 0
        sure, weight = torch.ones(24), torch.ones(24)
        weight[domain == field] = 0.4  # as under a cap, which must not blind the guard
        yield Losses(zero, zero, zero, zero, target, weight, sure), domain


def guards_of(data: TrainingData, *, drop: bool) -> tuple[CollapseGuards, Teacher]:
    teacher = teacher_of(data, SMALL, steps=4, num_images=9, device=torch.device("cpu"))
    return CollapseGuards(data, teacher, drop=drop), teacher


def test_a_harmed_site_stops_the_training_although_sources_are_well(data: TrainingData) -> None:
    guards, _ = guards_of(data, drop=False)
    steps = list(harmed(data, 2 * WINDOW_STEPS))
    for losses, domain in steps[:-1]:
        guards.update(losses, domain)
    with pytest.raises(StageError, match="target domain 'field' collapsed: 100% of the") as caught:
        guards.update(*steps[-1])
    assert "on_collapse to drop" in (caught.value.hint or "")


def test_a_harmed_site_is_dropped_where_the_user_says_so(
    data: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    guards, teacher = guards_of(data, drop=True)
    for losses, domain in harmed(data, 4 * WINDOW_STEPS):
        guards.update(losses, domain)
    assert teacher.dropped == (data.domains.index("field"),)
    assert caplog.text.count("'field' collapsed") == 1
    assert "training goes on without its images" in caplog.text


def test_restored_guards_know_each_domain(data: TrainingData) -> None:
    first, _ = guards_of(data, drop=False)
    second, _ = guards_of(data, drop=False)
    steps = list(harmed(data, 2 * WINDOW_STEPS))
    for losses, domain in steps[:-1]:
        first.update(losses, domain)
    second.restore(json.loads(json.dumps(first.state())))
    for guards in (first, second):
        with pytest.raises(StageError, match="'field'"):
            guards.update(*steps[-1])


STEPS = 3 * WINDOW_STEPS


def self_trained(data: TrainingData, *, class_cap: float) -> tuple[float, int]:
    """A linear classifier that teaches itself on a site whose harm leans towards one class.

    Returns its accuracy in the last 50 steps, and the step at which the guard spoke, or 0.
    """
    generator = torch.Generator().manual_seed(0)
    settings = dataclasses.replace(
        SMALL,
        fixmatch=FixMatchSettings(threshold=0.5),  # of two classes: every pseudo-label is used
        target=TargetSettings(class_cap=class_cap, on_collapse="drop"),
    )
    teacher = teacher_of(data, settings, steps=STEPS, num_images=48, device=torch.device("cpu"))
    guard = CollapseGuard(2)
    weight, bias = torch.tensor([[-1.0, 1.0]], requires_grad=True), torch.zeros(2)
    bias.requires_grad_()
    domain = torch.full((48,), data.domains.index("field"))
    none, right, spoke = torch.zeros(0, 3, 16, 16), [], 0
    for step in range(STEPS):
        label = torch.randint(0, 2, (48,), generator=generator)
        z = 0.3 * (2.0 * label[:, None] - 1.0) + torch.randn(48, 1, generator=generator) - 0.5
        logits = z @ weight + bias
        batch = Batch(none, label[:0], none, none, label, label[:0], domain, torch.arange(48))
        wanted = teacher.teach(logits, batch, step)
        loss = pseudo_label_loss(logits, teacher.limited(wanted, domain))
        for value, slope in zip(
            (weight, bias), torch.autograd.grad(loss, (weight, bias)), strict=True
        ):
            value.data -= 2.0 * slope
        right.append((wanted.label_B == label).float().mean().item())
        counts = torch.bincount(wanted.label_B, minlength=2).tolist()
        if guard.update(counts, wanted.weight_B.sum().item()) and not spoke:
            spoke = step + 1
    return sum(right[-50:]) / 50, spoke


def test_self_training_on_a_harmed_site_is_caught_and_a_cap_prevents_it(data: TrainingData) -> None:
    lost, spoke = self_trained(data, class_cap=0.0)
    assert lost < 0.53  # of two classes one is left
    assert 0 < spoke < STEPS
    held, quiet = self_trained(data, class_cap=1.0)
    assert held > lost + 0.06  # what the two shapes allow under this harm
    assert quiet == 0
