from __future__ import annotations

import pytest
import torch
from torch import nn

from redshank.nn import averaged_copy, effective_decay, update_average


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
