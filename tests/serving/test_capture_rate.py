from __future__ import annotations

import math

from serving.capture_rate import BURST, MOST_DOMAINS, CaptureRate


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    rate = CaptureRate(5.0)
    assert sum(rate.allows("gate", 100.0) for _ in range(BURST + 100)) == BURST
    passed = sum(rate.allows("gate", 100.0 + n / 1000) for n in range(10_000))
    assert 48 <= passed <= 50  # ten seconds
    assert rate.allows("yard", 100.0)
    assert sum(rate.allows("gate", 1e6) for _ in range(BURST + 100)) == BURST  # full again


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    rate = CaptureRate(5.0)
    assert sum(rate.allows("gate", 100.0) for _ in range(BURST)) == BURST
    assert not rate.allows("gate", 50.0)
    assert not rate.allows("gate", 100.1)
    assert rate.allows("gate", 100.3)


def test_a_clock_that_was_wrong_by_a_day_stops_no_capture() -> None:
    rate = CaptureRate(5.0)
    assert sum(rate.allows("gate", 86_400.0) for _ in range(BURST)) == BURST
    assert not rate.allows("gate", 100.0)  # set right
    assert rate.allows("gate", 101.0)


def test_no_rate_lets_one_burst_pass_and_an_endless_one_everything() -> None:
    none, endless = CaptureRate(0.0), CaptureRate(math.inf)
    assert sum(none.allows("gate", 100.0 + n) for n in range(BURST + 100)) == BURST
    assert all(endless.allows("gate", 1000.0 - n / 10) for n in range(BURST + 100))


def test_the_memory_is_bounded() -> None:
    rate = CaptureRate(5.0)
    for n in range(MOST_DOMAINS + 10):
        assert rate.allows(f"d{n}", 1.0)
    assert len(rate._due_s) <= MOST_DOMAINS
