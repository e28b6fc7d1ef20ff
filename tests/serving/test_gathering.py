from __future__ import annotations

import pytest

from serving.gathering import PROBE, Gathering


def answered(gathering: Gathering, *, images: int, back: int, at_s: float) -> float:
    """One batch and who came back of it in time; how long the next one would have waited."""
    gathering.answered(images, at_s)
    wait_s = gathering.wait_s(at_s)
    for _ in range(back):
        gathering.came(at_s)
    return wait_s


def test_waits_until_as_many_came_as_were_answered() -> None:
    gathering = Gathering(0.002)
    gathering.answered(3, 10.0)
    for left_s in (0.002, 0.0015, 0.001):
        assert gathering.wait_s(10.002 - left_s) == pytest.approx(left_s)
        gathering.came(10.002 - left_s)
    assert gathering.wait_s(10.001) == 0.0


def test_waits_for_nobody_at_first_and_never_beyond_the_end() -> None:
    gathering = Gathering(0.002)
    assert gathering.wait_s(10.0) == 0.0
    gathering.answered(3, 10.0)
    assert gathering.wait_s(10.002) == 0.0
    gathering.came(10.003)
    gathering.answered(1, 10.004)
    assert gathering.wait_s(10.004) > 0.0, "who comes after the end is not back for the next batch"


def test_learns_that_nobody_comes_back_and_looks_now_and_then() -> None:
    gathering = Gathering(0.002)
    waits = [answered(gathering, images=4, back=0, at_s=float(n)) for n in range(3 * PROBE)]
    assert all(wait_s > 0 for wait_s in waits[:5])
    assert [n for n, wait_s in enumerate(waits) if wait_s and n > 20] == [
        PROBE - 1,
        2 * PROBE - 1,
        3 * PROBE - 1,
    ]


def test_learns_that_they_come_back_again() -> None:
    gathering = Gathering(0.002)
    for n in range(50):
        answered(gathering, images=4, back=0, at_s=float(n))
    waits = [answered(gathering, images=4, back=4, at_s=float(n)) for n in range(50, 20 * PROBE)]
    assert waits[0] == 0.0
    assert all(waits[-PROBE:])


def test_a_batch_that_did_not_wait_teaches_nothing() -> None:
    gathering = Gathering(0.002)
    for n in range(200):
        gathering.answered(8, float(n))
        gathering.came(float(n))  # the first one back began the next batch
    assert gathering.wait_s(199.0) > 0.0
