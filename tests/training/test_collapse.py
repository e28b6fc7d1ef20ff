from __future__ import annotations

import json
import math

import pytest

from redshank.errors import StageError
from training.collapse import WINDOW_STEPS, CollapseGuard, class_entropy


def feed(guard: CollapseGuard, counts: list[int], used: int, steps: int = WINDOW_STEPS) -> None:
    for _ in range(steps):
        guard.update(counts, used)


def test_full_use_with_few_classes_stops() -> None:
    guard = CollapseGuard(4)
    feed(guard, [5, 5, 5, 5], 10)
    with pytest.raises(StageError, match="collapsed: 100% of the pseudo-labels"):
        feed(guard, [19, 1, 0, 0], 20)


@pytest.mark.parametrize(
    ("counts", "used"),
    [([5, 5, 5, 5], 20), ([19, 1, 0, 0], 10)],
    ids=["confident and even", "uneven but unsure"],
)
def test_one_sign_alone_goes_on(counts: list[int], used: int) -> None:
    guard = CollapseGuard(4)
    feed(guard, [5, 5, 5, 5], 10)
    feed(guard, counts, used, 3 * WINDOW_STEPS)


def test_data_that_were_uneven_from_the_start_go_on() -> None:
    guard = CollapseGuard(4)
    feed(guard, [19, 1, 0, 0], 20, 5 * WINDOW_STEPS)


def test_restored_guard_stops_at_the_same_step() -> None:
    guard = CollapseGuard(4)
    feed(guard, [5, 5, 5, 5], 10)
    feed(guard, [20, 0, 0, 0], 20, WINDOW_STEPS - 1)
    other = CollapseGuard(4)
    other.restore(json.loads(json.dumps(guard.state())))
    for one in (guard, other):
        with pytest.raises(StageError):
            one.update([20, 0, 0, 0], 20)


def test_entropy() -> None:
    assert class_entropy([3, 3, 0]) == pytest.approx(math.log(2))
    assert class_entropy([0, 0]) == 0.0
