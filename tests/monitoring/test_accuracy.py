import json

import numpy as np
import pytest

from monitoring.accuracy import (
    GRID_ODDS,
    LEAST_REGION,
    LEAST_SCENES,
    REGION,
    AccuracyMap,
    estimate,
)
from monitoring.sample import Sample
from redshank.accuracy import AccuracyPools, log_odds
from tests.monitoring.accuracy_pools import pools, sample

KNOWN = AccuracyMap(pools(error=0.05))


def test_the_interval_is_what_maps_of_other_families_got_wrong() -> None:
    made = pools(error=0.05)
    rng = np.random.default_rng(9)
    noisy = AccuracyPools(
        made.statistics_PS, np.clip(made.true_P + rng.normal(0, 0.02, 200), 0, 1),
        made.left_out_PM, made.weights_MW,
    )  # fmt: skip
    lower, upper = AccuracyMap(noisy).interval([0.8, 0.8], 1e12)
    odds = float(GRID_ODDS[np.abs(GRID_ODDS - float(log_odds(0.8))).argmin()])
    near = sorted(range(200), key=lambda p: abs(float(log_odds(noisy.left_out_PM[p, 0])) - odds))
    wrong = [noisy.left_out_PM[p, 0] - noisy.true_P[p] for p in near[: max(LEAST_REGION, 25)]]
    assert round(REGION * 200) == 25
    assert lower == pytest.approx(0.8 - np.quantile(wrong, 0.95), abs=0.02)
    assert upper == pytest.approx(0.8 - np.quantile(wrong, 0.05), abs=0.02)


def test_the_interval_spans_what_both_maps_say() -> None:
    alone, both = KNOWN.interval([0.8], 1e12), KNOWN.interval([0.8, 0.6], 1e12)
    assert both == pytest.approx((alone[0] - 0.2, alone[1]))
    assert KNOWN.interval([0.8, 0.9], 1e12) == pytest.approx((alone[0], alone[1] + 0.1))


def test_few_scenes_widen_the_interval() -> None:
    widths = [np.diff(KNOWN.interval([0.8], n))[0] for n in (30, 300, 1e9)]
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] == pytest.approx(0.1, abs=0.02)
    chance = 1.645 * np.sqrt(0.8 * 0.2 / 30)
    assert widths[0] == pytest.approx(2 * np.hypot(0.05, chance), abs=0.02)


def test_the_interval_stays_within_bounds_and_holds_the_estimate() -> None:
    for accuracy in (0.001, 0.2, 0.999):
        lower, upper = KNOWN.interval([accuracy, accuracy], 40)
        assert 0 <= lower <= accuracy <= upper <= 1


def test_an_estimate_has_a_number_a_sentence_and_json() -> None:
    found = estimate(KNOWN, sample(0.8), which="answers since the onset")
    assert found.accuracy == pytest.approx(0.825, abs=0.001)  # the middle of the bin
    assert found.accuracy is not None
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < found.accuracy < found.upper
    assert "of the answers since the onset are right, 90% interval" in found.sentence
    detail = json.loads(json.dumps(found.to_detail()))
    assert detail["source"] == "estimate"
    assert detail["lower"] == round(found.lower, 4)


@pytest.mark.parametrize(
    ("known", "answers", "complaint", "why"),
    [
        (None, sample(0.8), "", "the bundle has no map"),
        (KNOWN, sample(0.8), "Most images are even.", "camera"),
        (KNOWN, sample(0.8, scenes=LEAST_SCENES - 1), "", "show 29 scenes, 30 are needed"),
        (KNOWN, sample(0.8, scenes=0), "", "show 0 scenes"),
        (KNOWN, sample(0.8, far=0.5), "", "50% of the recent answers are to images of a kind"),
    ],
)
def test_unknown_has_no_number_and_says_why(
    known: AccuracyMap | None, answers: Sample, complaint: str, why: str
) -> None:
    found = estimate(known, answers, complaint=complaint)
    assert (found.accuracy, found.lower, found.upper) == (None, None, None)
    assert found.to_detail()["lower"] is None
    assert why in found.sentence


def test_statistics_that_no_pool_had_are_unknown() -> None:
    of_novel_images = AccuracyMap(pools(error=0.05, least_far=0.3))
    found = estimate(of_novel_images, sample(0.8, far=0.0))
    assert "unlike any that the estimate was fitted on" in found.sentence
    assert estimate(of_novel_images, sample(0.8, far=0.4)).accuracy is not None


def test_one_class_and_perfect_answers_make_a_map() -> None:
    weights = np.array([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    perfect = AccuracyPools(np.zeros((2, 2)), np.ones(2), np.full((2, 2), 0.99), weights)
    known = AccuracyMap(perfect)
    assert known.values(np.zeros(2)) == pytest.approx([1 / (1 + np.exp(-5))] * 2)
    lower, upper = known.interval([0.99, 0.99], 100)
    assert 0.9 < lower < upper <= 1
