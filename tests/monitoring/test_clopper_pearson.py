from __future__ import annotations

from math import comb

import pytest

from monitoring.clopper_pearson import at_least, interval


@pytest.mark.parametrize(
    ("right", "n"), [(21, 40), (0, 30), (30, 30), (1, 7), (950, 1000), (14000, 20000)]
)
def test_the_ends_are_where_the_tails_are_half_of_what_is_left(right: int, n: int) -> None:
    lower, upper = interval(right, n)
    assert lower <= right / n <= upper
    if right:
        assert at_least(right, n, lower) == pytest.approx(0.025, abs=1e-9)
    if right < n:
        assert 1 - at_least(right + 1, n, upper) == pytest.approx(0.025, abs=1e-9)


def test_known_values() -> None:
    assert interval(21, 40) == pytest.approx((0.3613, 0.6849), abs=1e-4)
    assert interval(0, 30) == pytest.approx((0.0, 0.1157), abs=1e-4)
    assert interval(0, 0) == (0.0, 1.0)


def test_fractions_are_rounded_outwards() -> None:
    lower, upper = interval(20.5, 40)
    assert (lower, upper) == (interval(20, 40)[0], interval(21, 40)[1])


def test_the_tail_is_the_sum_of_its_terms() -> None:
    terms = [comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)]
    for k in range(21):
        assert at_least(k, 20, 0.3) == pytest.approx(sum(terms[k:]))
