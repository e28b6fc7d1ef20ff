"""The rivals against plain loops over one stream at a time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.monitor_rivals import RIVALS, adwin, cusum, ks_window, page_hinkley
from redshank.cells import FloatArray

STREAMS, REFERENCE, VALUES, PER_TICK = 3, 40, 160, 20


@pytest.fixture
def answers() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    reference = 1 - np.minimum(rng.exponential(0.06, (REFERENCE, STREAMS)), 0.8)
    spread = np.where(np.arange(VALUES) < 80, 0.06, 0.2)[:, None]
    return reference, 1 - np.minimum(rng.exponential(spread, (VALUES, STREAMS)), 0.8)


def test_cusum_is_pages_recursion(answers: tuple[FloatArray, FloatArray]) -> None:
    reference, values = answers
    found = cusum(reference, values, PER_TICK, k=0.25)
    for r in range(STREAMS):
        total, naive = 0.0, []
        for x in values[:, r]:
            fall = (reference[:, r].mean() - x) / reference[:, r].std()
            total = max(0.0, total + fall - 0.25)
            naive.append(total)
        np.testing.assert_allclose(found[:, r], np.reshape(naive, (-1, PER_TICK)).max(axis=1))


def test_page_hinkley_follows_rivers_update(answers: tuple[FloatArray, FloatArray]) -> None:
    reference, values = answers
    found = page_hinkley(reference, values, 1, delta=0.005)
    for r in range(STREAMS):
        mean, total, most, naive = 0.0, 0.0, -1.0, []
        for n, x in enumerate([*reference[:, r], *values[:, r]], start=1):
            mean += (x - mean) / n
            total = 0.9999 * total + x - mean + 0.005
            most = max(most, total)
            naive.append(most - total)
        np.testing.assert_allclose(found[:, r], naive[REFERENCE:])


def test_ks_distance_is_taken_on_the_references_quantiles(
    answers: tuple[FloatArray, FloatArray],
) -> None:
    reference, values = answers
    found = ks_window(reference, values, PER_TICK, window=60)
    assert not found[:2].any()
    for r in range(STREAMS):
        cuts = np.quantile(reference[:, r], np.linspace(0, 1, 100))
        for tick in range(2, VALUES // PER_TICK):
            end = (tick + 1) * PER_TICK
            window = values[end - 60 : end, r]
            naive = max(abs((window <= c).mean() - (reference[:, r] <= c).mean()) for c in cuts)
            assert found[tick, r] == pytest.approx(naive)


def test_adwin_asks_every_cut_of_its_buckets(answers: tuple[FloatArray, FloatArray]) -> None:
    reference, values = answers
    log_delta = adwin(reference, values, PER_TICK)
    assert (log_delta[-1] > log_delta[3]).all()  # the change is seen
    # 40 + 20 values: with at most 5 buckets a size, the oldest bucket holds 16 values
    stream = np.concatenate([reference, values[:PER_TICK]])
    width, least = len(stream), 5
    for r in range(STREAMS):
        x, best = stream[:, r], -np.inf
        for cut in _cuts(width):
            n0, n1 = cut, width - cut
            if min(n0, n1) < least:
                continue
            fall = max(x[:cut].mean() - x[cut:].mean(), 0.0)
            m = 1 / (n0 - least + 1) + 1 / (n1 - least + 1)
            low, high = 0.0, 1e4  # the largest l with fall >= sqrt(2 m v l) + 2/3 m l
            for _ in range(200):
                middle = (low + high) / 2
                bound = np.sqrt(2 * m * x.var() * middle) + 2 / 3 * m * middle
                low, high = (middle, high) if bound <= fall else (low, middle)
            best = max(best, low - np.log(2 * np.log(width)))
        assert log_delta[0, r] == pytest.approx(best, rel=1e-6, abs=1e-6)


def _cuts(width: int) -> list[int]:
    """Ends of the buckets of an exponential histogram after `width` values, oldest first."""
    rows: list[int] = []
    for _ in range(width):
        level = 0
        rows += [0] if not rows else []
        rows[0] += 1
        while rows[level] > 5:
            rows[level] -= 2
            rows += [0] if len(rows) == level + 1 else []
            level += 1
            rows[level] += 1
    sizes = [2**level for level in range(len(rows) - 1, -1, -1) for _ in range(rows[level])]
    return [int(end) for end in np.cumsum(sizes)]


def test_every_rival_gives_one_number_a_tick(answers: tuple[FloatArray, FloatArray]) -> None:
    reference, values = (np.tile(part, (20, 1)) for part in answers)
    for variants in RIVALS.values():
        for statistic in variants.values():
            assert statistic(reference, values, PER_TICK).shape == (160, STREAMS)
