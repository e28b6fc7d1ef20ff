from __future__ import annotations

import pytest
import torch
from torch import nn

from redshank.nn import averaged_copy, effective_decay, recompute_batchnorm, update_average


def test_average_follows_the_recursion_for_weights_and_statistics() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = averaged_copy(model)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(5):
        model(torch.randn(8, 3))  # moves the running statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        update_average(average, model, 0.9)
        for name, value in model.state_dict().items():
            mixed = 0.9 * expected[name] + 0.1 * value
            expected[name] = mixed if value.is_floating_point() else value.clone()
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert int(average.state_dict()["1.num_batches_tracked"]) == 5
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_short_runs_forget_their_start() -> None:
    assert effective_decay(0.999, 0) == pytest.approx(0.1)
    assert effective_decay(0.999, 90) == pytest.approx(0.91)
    assert effective_decay(0.999, 10**6) == 0.999


def test_recomputed_statistics_are_the_mean_over_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(2, momentum=0.3), nn.Dropout(0.5)).train()
    batches = [torch.randn(16, 2) * (i + 1) + i for i in range(4)]
    recompute_batchnorm(model, batches)
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm1d)
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in batches]).mean(0))
    assert norm.momentum == 0.3
    assert model.training
    assert norm.training


def test_model_without_batchnorm_is_left_alone() -> None:
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    recompute_batchnorm(model, [])
    assert torch.equal(model.weight, before)
