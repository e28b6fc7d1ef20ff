from __future__ import annotations

import json
import math

import pytest

from training.collapse import WINDOW_STEPS, CollapseGuard, class_entropy


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
