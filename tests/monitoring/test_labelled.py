"""The labelled test: its promise, its power, and that it is a function of its rows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from monitoring.edetector import threshold
from monitoring.labelled import (
    CONFIRMS,
    RIGHT,
    WEEK_S,
    Labelled,
    Promise,
    Seen,
    log_bets,
    promise_of,
    weeks_of,
)
from redshank.store.monitor_rows import LabelledAnswer, StreamKey
from tests.monitoring.streams import most_false_alarms

KEY = StreamKey("default", "b1", "pier")
PROMISE = Promise(accuracy=0.9, images=1000, held_F=np.array([0.87]), prices_F=np.ones(1))
PERIOD_S, ALPHA = 30 * 86_400.0, 0.005


def answer(number: int, is_right: bool, *, week: int = 0, weight: float = 1.0) -> LabelledAnswer:
    return LabelledAnswer(
        key=KEY,
        image_sha256=f"{number:064x}",
        seq=number,
        tick=number,
        labelled_s=week * WEEK_S + number,
        received_s=1000.0 + number,
        client="",
        sequence_id="",
        dhash="",
        class_index=0,
        label="gull" if is_right else "tern",
        is_right=is_right,
        weight=weight,
    )


def labelled(right: int, wrong: int, promise: Promise | None = PROMISE) -> Labelled:
    found = Labelled(promise, period_s=PERIOD_S, alpha=ALPHA)
    found.take(answer(n, n >= wrong) for n in range(right + wrong))
    return found


def test_the_promise_is_a_lower_bound_less_the_margin() -> None:
    table_CCZ = np.zeros((2, 2, 3))
    table_CCZ[0, 0], table_CCZ[1, 1], table_CCZ[0, 1] = 150.0, 150.0, 33.0
    promise = promise_of(table_CCZ, delta=0.005, margin=0.01)
    assert promise is not None
    assert promise.accuracy == pytest.approx(900 / 999)
    assert promise.images == 999
    assert 0.84 < promise.bound < promise.accuracy - 0.01 < promise.held_F[-1]
    assert (np.diff(promise.held_F) > 0).all()
    assert (np.diff(promise.prices_F) <= 0).all()  # a high accuracy costs most evidence
    surer = promise_of(100 * table_CCZ, delta=0.005, margin=0.01)
    assert surer is not None
    assert surer.bound == pytest.approx(promise.accuracy - 0.01, abs=0.005)
    assert promise_of(np.zeros((2, 2, 3)), delta=0.005, margin=0.0) is None
    assert promise_of(np.zeros((0,)), delta=0.005, margin=0.0) is None
    assert promise_of(np.ones((1, 2, 1)) * [[[0.0], [9.0]]], delta=0.005, margin=0.0) is None


def test_the_null_bets_against_its_bound_and_never_more_than_it_has() -> None:
    factors_KB = np.exp(log_bets(RIGHT, np.array([0.87]))[0])
    assert (factors_KB > 0).all()
    assert factors_KB @ [0.87, 0.13] == pytest.approx(np.ones(7))  # fair at the bound
    assert (factors_KB @ [0.9, 0.1] < 1).all()  # and losing above it
    assert (factors_KB @ [0.6, 0.4] > 1).all()


def test_false_alarms_over_many_streams_with_a_look_after_each_label() -> None:
    streams, weeks, per_week = 400, weeks_of(PERIOD_S), 60
    rng, alarmed = np.random.default_rng(11), np.zeros(400, dtype=bool)
    line, log_bets_KB = threshold(weeks, 0.05), log_bets(RIGHT, PROMISE.held_F)[0]
    M_RK = np.zeros((streams, 7))
    for _ in range(weeks):
        M_RK = M_RK + 1
        for _ in range(per_week):
            wrong_R = (rng.random(streams) >= PROMISE.bound).astype(int)
            M_RK = M_RK * np.exp(log_bets_KB[:, wrong_R].T)
            alarmed |= M_RK.mean(axis=1) >= line
    assert 0 < alarmed.sum() <= most_false_alarms(streams, 0.05)


def test_a_look_after_each_label_and_one_after_all_agree() -> None:
    rows = [answer(n, n % 3 > 0, week=n // 20) for n in range(60)]
    at_once = Labelled(PROMISE, period_s=PERIOD_S, alpha=ALPHA)
    at_once.take(rows)
    step_by_step = Labelled(PROMISE, period_s=PERIOD_S, alpha=ALPHA)
    for row in rows:
        step_by_step.take(step_by_step.changed_by([row]))
    assert step_by_step.memory() == at_once.memory()
    shuffled = Labelled(PROMISE, period_s=PERIOD_S, alpha=ALPHA)
    shuffled.take(shuffled.changed_by(rows[::-1]))
    assert shuffled.memory() == at_once.memory()
    assert json.loads(json.dumps(at_once.memory())) == at_once.memory()


def test_harm_is_found_in_a_few_labels_and_good_ones_unsay_it() -> None:
    harmed = labelled(18, 22)
    evidence = harmed.evidence()
    assert evidence is not None
    assert evidence.total > evidence.threshold == pytest.approx(np.log10(6 / ALPHA))
    assert harmed.onset_s() == 1000.0
    good = [answer(100 + n, is_right=True, week=1) for n in range(150)]
    harmed.take(harmed.changed_by(good))
    after = harmed.evidence()
    assert after is not None
    assert after.total < after.threshold - 1
    fine = labelled(36, 4).evidence()
    assert fine is not None
    assert fine.total < 1


def test_the_promise_of_the_fleet_asks_for_more() -> None:
    found = labelled(18, 22)
    found.strictness = 2.0
    evidence = found.evidence()
    assert evidence is not None
    assert evidence.threshold == pytest.approx(np.log10(6 / ALPHA) + 2)


def test_a_correction_replaces_what_it_corrects() -> None:
    found = labelled(18, 22)
    right = [dataclasses.replace(a, is_right=True) for a in found.answers if not a.is_right]
    found.take(found.changed_by(right))
    assert found.memory() == labelled(40, 0).memory()


def test_labels_of_an_open_alarm_confirm_refute_or_leave_open() -> None:
    found = labelled(0, 0)
    assert found.confirms(Seen(40, 40.0, 21.0))
    assert not found.confirms(Seen(40, 40.0, 33.0))
    assert not found.refutes(Seen(40, 40.0, 36.0))  # too few to rule out ten points
    assert found.refutes(Seen(90, 90.0, 84.0))
    assert not found.refutes(Seen(90, 90.0, 70.0))
    blind = labelled(0, 0, promise=None)
    assert not blind.confirms(Seen(40, 40.0, 1.0))
    assert not blind.refutes(Seen(900, 900.0, 900.0))


DAY_S = 86_400.0


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.87, "confirms"), (0.8, "refutes")])
def test_confirming_and_refuting_err_at_most_once_in_twenty(accuracy: float, verdict: str) -> None:
    rng, found = np.random.default_rng(4), labelled(0, 0)
    told = getattr(found, verdict)
    wrong = 0
    for _ in range(200):
        right_N = np.cumsum(rng.random(100) < accuracy)
        looks = range(4, 100, 5)  # somebody looks after every fifth label
        wrong += any(told(Seen(n + 1, n + 1.0, float(right_N[n]))) for n in looks)
    assert wrong <= most_false_alarms(200, 1 / CONFIRMS)


def test_frames_of_a_scene_share_their_weight_and_old_ones_do_not_refute() -> None:
    found = Labelled(PROMISE, period_s=PERIOD_S, alpha=ALPHA)
    found.take([answer(n, n != 1, weight=0.25) for n in range(4)] + [answer(9, True, weight=0.0)])
    seen = found.since(0.0)
    assert (seen.frames, seen.scenes, seen.right) == (4, 1.0, 0.75)
    assert seen.interval == (0.0, 1.0)
    assert found.since(1001.0).scenes == 0.75
    many = labelled(95, 5)
    assert many.refuted_since(1000.0, now_s=1100.0)
    assert not many.refuted_since(1090.0, now_s=1100.0)
    assert many.refuted_since(1000.0, now_s=1100.0 + 13 * DAY_S)
    assert not many.refuted_since(1000.0, now_s=1100.0 + 14 * DAY_S)


def test_a_later_start_of_the_labels_that_refute_needs_more_evidence() -> None:
    many = labelled(80, 5)  # evidence 57; received between 1,000 and 1,085 s
    onsets = [1000.0 - weeks * 7 * DAY_S for weeks in range(3)]
    assert [many.refuted_since(onset, now_s=1100.0 + 7 * DAY_S) for onset in onsets] == [
        True,
        True,
        False,
    ]


def test_without_a_promise_or_labels_there_is_no_evidence() -> None:
    for found in (labelled(3, 30, promise=None), labelled(0, 0)):
        assert found.evidence() is None
        assert found.memory() is None
    assert labelled(3, 30, promise=None).since(0.0).accuracy == pytest.approx(3 / 33)
    assert weeks_of(30 * 86_400.0) == 6
    assert weeks_of(200.0) == 2
