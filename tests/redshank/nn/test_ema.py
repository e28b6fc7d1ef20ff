from __future__ import annotations

import pytest
import torch
from torch import nn

from redshank.nn import averaged_copy, effective_decay, update_average
from redshank.nn.ema import mean_decay, recompute_statistics


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


def test_mean_decay_makes_the_plain_mean() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    average, seen = averaged_copy(nn.Linear(3, 2)), []
    for models in range(5):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        seen.append(model.weight.detach().clone())
        update_average(average, model, mean_decay(models))
    torch.testing.assert_close(average.weight, torch.stack(seen).mean(0))


def test_recomputed_statistics_are_the_mean_over_batches_and_modes_come_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    batches = [torch.randn(6, 3, 5, 5) + shift for shift in range(3)]
    recompute_statistics(model, batches)
    outputs = [model[0](x) for x in batches]
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    means = torch.stack([y.mean((0, 2, 3)) for y in outputs])
    variances = torch.stack([y.var((0, 2, 3)) for y in outputs])
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    torch.testing.assert_close(norm.running_var, variances.mean(0))
    assert norm.momentum == 0.1
    assert not any(module.training for module in model.modules())


def test_a_network_without_batchnorm_sees_no_batch() -> None:
    drawn = iter([torch.zeros(1, 2)])
    recompute_statistics(nn.Linear(2, 2), drawn)
    assert len(list(drawn)) == 1
