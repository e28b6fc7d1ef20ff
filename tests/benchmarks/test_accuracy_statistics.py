import numpy as np
import pytest

from benchmarks.accuracy_statistics import (
    Counted,
    at_even_mix,
    confidence,
    counted,
    entropy,
    nuclear,
    thresholded,
)
from benchmarks.monitor_pools import NUM_CLASSES, Pool
from redshank.cells import CONFIDENCE_MIDPOINTS, NUM_CONFIDENCE_BINS, confidence_bin


def pool(share: np.ndarray | None = None, *, n: int = 3000, seed: int = 0) -> Pool:
    """Class 0 is hard: unsure and often taken for class 1."""
    rng = np.random.default_rng(seed)
    label = rng.choice(NUM_CLASSES, n, p=share)
    sure = np.where(label == 0, rng.uniform(0.2, 0.7, n), rng.uniform(0.9, 1.0, n))
    predicted = np.where((label == 0) & (rng.random(n) > 0.5), 1, label)
    return Pool("", "home", 0.0, label, predicted, sure, rng.random(n))


def test_nuclear_norm_against_singular_values() -> None:
    site = pool(n=400)
    rows = np.empty((400, NUM_CLASSES))
    for n, (k, c) in enumerate(zip(site.class_N, site.confidence_N, strict=True)):
        middle = CONFIDENCE_MIDPOINTS[int(confidence_bin(c))]
        rows[n] = (1 - middle) / (NUM_CLASSES - 1)
        rows[n, k] = middle
    value = np.linalg.svd(rows, compute_uv=False).sum() / np.sqrt(400 * NUM_CLASSES)
    assert nuclear(counted(site)) == pytest.approx(np.log(value / (1 - value)), rel=1e-6)


def test_the_correction_undoes_another_mix_of_classes() -> None:
    even, share = pool(seed=1), np.array([0.55] + [0.05] * 9)
    table = counted(pool(n=20_000, seed=2)).labelled_CCZ
    shifted = counted(pool(share, seed=3))
    for statistic in (confidence, entropy, nuclear):
        corrected = at_even_mix(statistic, table)(shifted)
        wanted, raw = statistic(counted(even)), statistic(shifted)
        assert abs(corrected - wanted) < 0.3 * abs(raw - wanted)


def test_atc_on_bins_is_the_accuracy_where_it_was_set() -> None:
    cells = np.zeros((NUM_CLASSES, NUM_CONFIDENCE_BINS))
    cells[0, [2, 5, 9, 15]] = [10, 20, 30, 40]
    found = thresholded(cells.sum(axis=0), 0.7)(
        Counted("", cells, np.ones(11), 0.7, np.zeros((1, 1, 1)))
    )
    assert found == pytest.approx(np.log(0.7 / 0.3))
