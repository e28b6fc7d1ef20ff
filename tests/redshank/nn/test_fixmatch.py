from __future__ import annotations

import math

import pytest
import torch

from redshank.nn import fixmatch_loss, fixmatch_targets


def test_targets_and_mask_follow_the_confidence() -> None:
    logits = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 2.0]], requires_grad=True)
    targets, mask = fixmatch_targets(logits, 0.75)
    assert targets.tolist() == [0, 1, 2]
    assert mask.tolist() == [True, False, True]  # e^2 / (e^2 + 2) = 0.787
    assert fixmatch_targets(logits, 0.0)[1].all()
    assert not targets.requires_grad


def test_loss_equals_a_loop_and_is_divided_by_all_rows() -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 5, requires_grad=True)
    targets = torch.randint(0, 5, (7,))
    mask = torch.tensor([1, 0, 1, 1, 0, 0, 1], dtype=torch.bool)
    total = 0.0
    for row in range(7):
        if mask[row]:
            values = [math.exp(v) for v in logits[row].tolist()]
            total -= math.log(values[int(targets[row])] / sum(values))
    loss = fixmatch_loss(logits, targets, mask)
    assert loss.item() == pytest.approx(total / 7, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[~mask].abs().max() == 0.0


def test_nothing_confident_and_nothing_at_all_are_zero_with_a_graph() -> None:
    for rows in (0, 3):
        logits = torch.randn(rows, 4, requires_grad=True)
        targets, _ = fixmatch_targets(torch.zeros(rows, 4), 1.0)
        loss = fixmatch_loss(logits, targets, torch.zeros(rows, dtype=torch.bool))
        assert loss.item() == 0.0
        assert loss.requires_grad


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_threshold_must_be_a_probability(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must lie in"):
        fixmatch_targets(torch.zeros(1, 2), threshold)
