"""Promises of the detector on seeded streams: R = 200 ticks a period, alpha = 5 %."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.monitor_streams import stacked
from monitoring.edetector import HIGHEST, EDetector, threshold
from monitoring.reference_doubt import CANDIDATES, NO_BET
from monitoring.scores import GROUP_SHARES, NUM_BETS, NUM_BINS
from redshank.cells import NUM_CONFIDENCE_BINS, FloatArray
from tests.monitoring.streams import (
    ALPHA,
    EXACT,
    HARMED,
    HEALTHY,
    NOVEL,
    SCENES_PER_TICK,
    TICKS,
    draw,
    first_alarms,
    most_false_alarms,
    null_of,
)


def still_streams(seed: int, streams: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.stack([draw(rng, HEALTHY, SCENES_PER_TICK, streams) for _ in range(TICKS)])


def test_false_alarms_with_a_known_reference_keep_the_promise() -> None:
    alarms = first_alarms(null_of(HEALTHY, EXACT), still_streams(seed=1, streams=250))
    assert sum(tick >= 0 for tick in alarms) <= most_false_alarms(250, ALPHA)


def alarms_with_own_references(*, references: int, scenes: int, claimed: float) -> int:
    rng = np.random.default_rng(2)
    nulls = [null_of(counts, claimed) for counts in draw(rng, HEALTHY, scenes, references)]
    alarms = first_alarms(stacked(nulls), still_streams(seed=1000, streams=references))
    return sum(tick >= 0 for tick in alarms)


def test_a_finite_reference_is_bounded_and_the_plug_in_mean_is_shown_to_fail() -> None:
    bounded = alarms_with_own_references(references=150, scenes=300, claimed=300)
    assert bounded <= most_false_alarms(150, ALPHA * 1.25)  # alpha + delta
    plug_in = alarms_with_own_references(references=150, scenes=300, claimed=EXACT)
    assert plug_in > most_false_alarms(150, ALPHA * 1.25)


@pytest.mark.parametrize(("scenes", "margin"), [(EXACT, 0.0), (300, 0.01)])
def test_a_seeded_shift_is_found_soon_and_its_onset_is_near(scenes: float, margin: float) -> None:
    rng = np.random.default_rng(3)
    change, streams = 60, 60
    counts = np.stack(
        [draw(rng, HEALTHY if t < change else HARMED, SCENES_PER_TICK, streams) for t in range(100)]
    )
    null = null_of(HEALTHY * scenes, scenes, margin)
    delays = np.array(first_alarms(null, counts)) - change
    assert (delays >= 0).mean() >= 0.95  # an alarm before the change would be a false one
    assert np.median(delays) <= 10  # 100 scenes
    detector = EDetector(null, streams=(streams,))
    for tick in range(change + 12):
        detector.update(counts[tick], tick)
    assert abs(float(np.median(detector.onset("confidence"))) - change) <= 2


def test_a_change_before_the_first_event_is_found() -> None:
    rng = np.random.default_rng(4)
    counts = np.stack([draw(rng, HARMED, SCENES_PER_TICK, 40) for _ in range(40)])
    assert min(first_alarms(null_of(HEALTHY * 300, 300, 0.01), counts)) >= 0


def test_novelty_brings_evidence_that_is_not_counted_as_confidence() -> None:
    rng = np.random.default_rng(5)
    detector = EDetector(null_of(HEALTHY * 1000, 1000, 0.01))
    for tick in range(60):
        detector.update(draw(rng, NOVEL, SCENES_PER_TICK, 1)[0], tick)
    limit = threshold(TICKS, ALPHA)
    assert detector.evidence_of("novelty") > limit > detector.evidence_of("confidence")
    parts = sum(float(detector.evidence_of(g)) for g in GROUP_SHARES)
    assert parts == pytest.approx(float(detector.evidence))


def test_higher_confidence_is_news_and_no_harm() -> None:
    rng = np.random.default_rng(15)
    detector = EDetector(null_of(HARMED * 1000, 1000, 0.01))
    for tick in range(60):
        detector.update(draw(rng, HEALTHY, SCENES_PER_TICK, 1)[0], tick)
    assert detector.evidence_of("confidence_up") > threshold(TICKS, ALPHA)
    assert detector.evidence_of("confidence") < 10


def test_streams_with_nulls_of_their_own_are_as_good_as_one_by_one() -> None:
    rng = np.random.default_rng(16)
    nulls = [null_of(HEALTHY * 1000, 1000), null_of(HEALTHY * 1000, 300)]
    together = EDetector(stacked(nulls), streams=(2,))
    apart = [EDetector(null) for null in nulls]
    for tick in range(12):
        counts = draw(rng, HARMED, 5, 2)
        together.update(counts, tick)
        for detector, row in zip(apart, counts, strict=True):
            detector.update(row, tick)
    np.testing.assert_allclose(together.evidence, [float(d.evidence) for d in apart])


def test_order_inside_a_tick_and_split_over_workers_do_not_matter() -> None:
    rng = np.random.default_rng(6)
    null = null_of(HEALTHY * 1000, 1000)
    whole, merged = EDetector(null), EDetector(null)
    for tick in range(30):
        events = draw(rng, HEALTHY, 1, 12)
        whole.update(events.sum(axis=0), tick)
        shuffled = rng.permutation(events)
        merged.update(shuffled[:5].sum(axis=0) + shuffled[5:].sum(axis=0), tick)
    assert whole.state() == merged.state()


def test_state_survives_json_bit_by_bit() -> None:
    rng = np.random.default_rng(7)
    null = null_of(HEALTHY * 1000, 1000)
    straight, halted = EDetector(null), EDetector(null)
    for tick in range(40):
        counts = draw(rng, HARMED, 5, 1)[0]
        straight.update(counts, tick)
        halted.update(counts, tick)
        stored = json.dumps(halted.state())
        halted = EDetector(null)
        halted.restore(json.loads(stored))
    assert halted.state() == straight.state()
    smaller = null_of(np.r_[HEALTHY[:NUM_CONFIDENCE_BINS], np.zeros(11)] * 1000, 1000)
    with pytest.raises(ValueError, match="the null needs"):
        EDetector(smaller).restore(straight.state())


def test_an_empty_tick_changes_nothing_and_evidence_is_capped() -> None:
    detector = EDetector(null_of(HEALTHY * 1000, 1000), highest=1e6)
    rng = np.random.default_rng(8)
    for tick in range(50):
        detector.update(draw(rng, HARMED, 50, 1)[0], tick)
    before = detector.state()
    assert float(detector.evidence) <= 1e6
    detector.update(np.zeros(NUM_BINS), 51)
    assert detector.state() == before


def test_update_agrees_with_a_naive_loop_over_scores_bets_and_bins() -> None:
    rng = np.random.default_rng(9)
    null = null_of(HEALTHY * 1000, 1000)
    detector = EDetector(null)
    M = np.zeros(null.log_bets.shape[:2])
    for tick in range(10):
        counts = draw(rng, HARMED, 4, 1)[0]
        detector.update(counts, tick)
        for s, m in enumerate(null.bounds):
            for k in range(7):
                bet, log_gain = 0.9 / (1 - m) * 2.0**-k, 0.0
                for b in range(NUM_BINS):
                    if (b < NUM_CONFIDENCE_BINS) == (null.groups[s] != "novelty"):
                        log_gain += counts[b] * np.log(1 + bet * (m - null.scores[s, b]))
                M[s, k] = (M[s, k] + 1) * np.exp(log_gain)
    np.testing.assert_allclose(detector.M_SK, M, rtol=1e-9)


@pytest.mark.parametrize("highest", [HIGHEST, 50.0])
def test_the_line_lies_below_the_evidence_at_every_mean_and_touches_it_at_the_lowest(
    highest: float,
) -> None:
    rng = np.random.default_rng(17)
    null = null_of(draw(rng, HEALTHY, 300, 1)[0], 300)
    assert null.doubt is not None
    detector = EDetector(null, highest=highest)
    used: FloatArray = (null.log_bets != 0).any(axis=1)
    m0, score = null.bounds[:, None, None], null.scores[:, None, :]
    bets: FloatArray = 0.9 / (1 - m0) * 2.0 ** -np.arange(NUM_BETS)[:, None]
    # the mean that a step of theta = log(m - 1 + 1 / bet) leads to
    means_SKF: FloatArray = 1 - 1 / bets + (m0 - 1 + 1 / bets) * np.exp(null.doubt.steps)
    np.testing.assert_allclose(means_SKF, np.broadcast_to(means_SKF[:, :1], means_SKF.shape))
    exact_SKF = line_SKF = np.zeros(np.shape(means_SKF))
    for tick in range(40):
        counts = draw(rng, HARMED if tick > 20 else HEALTHY, 3, 1)[0]
        detector.update(counts, tick)
        for f in range(CANDIDATES):
            mean_S: FloatArray = means_SKF[:, 0, f]
            gain = 1 + bets * (mean_S[:, None, None] - score)
            log_gain_SK = np.log(gain) * used[:, None, :] @ counts
            exact_SKF[..., f] = (exact_SKF[..., f] + 1) * np.exp(log_gain_SK)
        line_SKF = detector.M_SK[..., None] * np.exp(
            detector.slope_SK[..., None] * null.doubt.steps
        )
        assert (line_SKF <= exact_SKF * (1 + 1e-9)).all()
    if highest == HIGHEST:
        np.testing.assert_allclose(line_SKF[..., 0], exact_SKF[..., 0], rtol=1e-9)
        assert np.median(line_SKF[..., 8] / exact_SKF[..., 8]) > 0.9  # and it is no idle bound
    by_score = (line_SKF.mean(axis=1) * null.doubt.prices).min(axis=-1)
    by_score = np.minimum(by_score, highest) * null.weights
    assert float(detector.evidence) == pytest.approx(by_score.sum())


def test_a_known_mean_costs_no_more_than_the_share_that_is_not_bet() -> None:
    rng = np.random.default_rng(18)
    null = null_of(HEALTHY, EXACT)
    detector, plain = EDetector(null), EDetector(replace(null, doubt=None))
    for tick in range(30):
        counts = draw(rng, HARMED, 5, 1)[0]
        detector.update(counts, tick)
        plain.update(counts, tick)
        assert NO_BET * float(plain.evidence) <= float(detector.evidence) * (1 + 1e-6)


def test_a_state_of_an_older_detector_does_not_fit() -> None:
    detector = EDetector(null_of(HEALTHY * 1000, 1000))
    older = {name: value for name, value in detector.state().items() if name != "slope"}
    assert detector.fits(detector.state())
    assert not detector.fits(older)


def test_threshold_refuses_nonsense() -> None:
    assert threshold(200, 0.05) == pytest.approx(4000)
    with pytest.raises(ValueError, match="alpha"):
        threshold(200, 0.0)
