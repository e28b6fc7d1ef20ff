from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn

from redshank.nn.backbones import build_backbone
from redshank.run import read_history
from training.step import make_optimizer, set_learning_rate
from training.train import train

from .conftest import SMALL, MakeManifest


def test_the_head_learns_so_many_times_as_fast() -> None:
    model, other = build_backbone("small_cnn", 3, width=4), nn.Linear(4, 2)
    optimizer = make_optimizer(
        model, other, learning_rate=0.003, weight_decay=0.1, head_rate_factor=10 / 3
    )
    for rate in (0.003, 0.0015):
        set_learning_rate(optimizer, rate)
        found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        parameters = [*model.parameters(), *other.parameters()]
        assert set(found) == {id(p) for p in parameters}
        for parameter in parameters:
            is_head = any(parameter is p for p in model.head.parameters())
            assert found[id(parameter)]["lr"] == pytest.approx(rate * (10 / 3 if is_head else 1.0))
            assert found[id(parameter)]["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)


def test_a_factor_of_one_is_plain_sgd() -> None:
    model = build_backbone("small_cnn", 3, width=4)
    optimizer = make_optimizer(model, learning_rate=0.03, weight_decay=5e-4)
    ours = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    parameters = list(model.parameters())
    assert ours == [
        [id(p) for p in parameters if p.ndim > 1],
        [id(p) for p in parameters if p.ndim <= 1],
    ]
    assert {group["lr"] for group in optimizer.param_groups} == {0.03}


def test_a_training_with_a_faster_head_says_so(make_manifest: MakeManifest) -> None:
    path = make_manifest()
    settings = dataclasses.replace(SMALL, steps=6, head_rate_factor=3.0)
    folder = train(path, settings, path.parent / "runs")
    values = json.loads((folder / "run.json").read_text())
    assert values["settings"]["head_rate_factor"] == 3.0
    assert torch.isfinite(torch.tensor([row.loss for row in read_history(folder)])).all()
