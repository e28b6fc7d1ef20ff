from __future__ import annotations

import numpy as np
import pytest

from redshank import cells


def naive_bin(value: float, edges: tuple[float, ...]) -> int:
    return sum(1 for edge in edges if value >= edge)


def test_bins_agree_with_a_plain_loop_also_on_every_edge() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.random(2000), cells.CONFIDENCE_EDGES, [0.0, 1.0]])
    expected = [naive_bin(float(v), cells.CONFIDENCE_EDGES) for v in values]
    assert cells.confidence_bin(values).tolist() == expected
    expected = [naive_bin(float(v), cells.NOVELTY_EDGES) for v in values]
    assert cells.novelty_bin(values).tolist() == expected


def test_edges_and_midpoints_are_in_order() -> None:
    assert cells.NUM_CONFIDENCE_BINS == 19
    assert cells.NUM_NOVELTY_BINS == 11
    assert cells.NOVELTY_EDGES[-1] == cells.NOVELTY_Q95
    for midpoints, binned in (
        (cells.CONFIDENCE_MIDPOINTS, cells.confidence_bin(cells.CONFIDENCE_MIDPOINTS)),
        (cells.NOVELTY_MIDPOINTS, cells.novelty_bin(cells.NOVELTY_MIDPOINTS)),
    ):
        assert binned.tolist() == list(range(len(midpoints)))  # each lies in its own bin


def test_counts_agree_with_a_naive_double_loop_and_add_up() -> None:
    rng = np.random.default_rng(1)
    classes, confidence, weights = rng.integers(0, 4, 500), rng.random(500), rng.random(500)
    naive = np.zeros((4, cells.NUM_CONFIDENCE_BINS))
    for c, p, w in zip(classes, confidence, weights, strict=True):
        naive[c, naive_bin(float(p), cells.CONFIDENCE_EDGES)] += w
    counts = cells.cell_counts(classes, confidence, weights, num_classes=4)
    np.testing.assert_allclose(counts, naive, rtol=0, atol=1e-12)
    halves = [cells.cell_counts(classes[i::2], confidence[i::2], num_classes=4) for i in (0, 1)]
    np.testing.assert_array_equal(
        halves[0] + halves[1], cells.cell_counts(classes, confidence, num_classes=4)
    )


def test_flat_cells_and_novelty_counts() -> None:
    assert cells.cell_index([0, 2], [0.1, 0.999]).tolist() == [0, 3 * 19 - 1]
    counts = cells.novelty_counts([0.0, 0.96, 0.96, 1.0], [1.0, 0.5, 0.5, 1.0])
    assert counts.sum() == 3.0
    assert counts[-1] == 2.0


def test_mean_confidence_is_close_to_the_mean_and_nan_when_empty() -> None:
    values = np.random.default_rng(2).uniform(0.5, 1.0, 5000)
    counts = cells.cell_counts(np.zeros(5000, int), values, num_classes=3)
    assert cells.mean_confidence(counts) == pytest.approx(values.mean(), abs=0.01)
    assert np.isnan(cells.mean_confidence(np.zeros((3, 19))))


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_confidence_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"confidence .* expected a number in"):
        cells.confidence_bin([0.5, value])


def test_bad_class_and_weight_are_refused() -> None:
    with pytest.raises(ValueError, match=r"predicted class 3\.\.3, expected 0\.\.2"):
        cells.cell_counts([3], [0.5], num_classes=3)
    with pytest.raises(ValueError, match="weight -1"):
        cells.cell_counts([0], [0.5], [-1.0], num_classes=3)


def test_no_predictions_give_empty_counts() -> None:
    assert cells.cell_counts([], [], num_classes=2).sum() == 0.0
    assert cells.novelty_counts([]).shape == (11,)


def test_no_classes_and_no_predictions_are_an_empty_table() -> None:
    assert cells.cell_counts([], [], num_classes=0).shape == (0, cells.NUM_CONFIDENCE_BINS)
