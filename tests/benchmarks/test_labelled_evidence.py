from __future__ import annotations

import numpy as np
import pytest

from benchmarks.labelled_evidence import (
    PERIOD_S,
    first_look,
    known,
    promised,
    right_answers,
    verdict_after,
)
from benchmarks.monitor_pools import Pool
from monitoring.labelled import RIGHT, WEEK_S, Labelled, Seen, weeks_of
from redshank.store.monitor_rows import LabelledAnswer, StreamKey


def pool(right: int, wrong: int) -> Pool:
    label_N = np.zeros(right + wrong, dtype=np.int64)
    class_N = np.repeat([0, 1], [right, wrong])
    plain = np.full(right + wrong, 0.5)
    return Pool("mnist", "home", 0.0, label_N, class_N, plain, plain)


def test_a_mixture_loses_exactly_what_was_asked_for() -> None:
    rng, home, harmed = np.random.default_rng(1), pool(90, 10), pool(30, 70)
    lost = 0.9 - right_answers(rng, home, harmed, 0.2, 40_000).mean()
    assert lost == pytest.approx(0.2, abs=0.01)
    assert 0.8 < promised(rng, home, 1000, alpha=0.01).bound < 0.9


def test_the_benchmark_looks_at_what_the_evaluator_would_see() -> None:
    rng = np.random.default_rng(2)
    promise = promised(rng, pool(900, 100), 1000, alpha=0.01)
    right_WN = rng.random((2, 60)) < [[0.87], [0.5]]
    labelled = Labelled(promise, period_s=PERIOD_S, alpha=0.01)
    line, rows, found = weeks_of(PERIOD_S) / 0.01, [], -1
    for number, is_right in enumerate(right_WN.ravel()):
        at_s = WEEK_S * (number // 60)
        rows.append(
            LabelledAnswer(
                StreamKey("m", "b", "d"), f"{number:064x}", number, 0, at_s, 0.0, "", "", "",
                0, "x", bool(is_right), 1.0,
            )
        )  # fmt: skip
        labelled.take(rows)
        evidence = labelled.evidence()
        assert evidence is not None
        if found < 0 and evidence.total >= evidence.threshold:
            found = number + 1
    assert found == first_look(promise, right_WN, line) > 60
    right_N = right_WN[1]
    after = verdict_after(RIGHT, promise.held_F, promise.prices_F, right_N)
    seen = [Seen(n, float(n), float(right_N[:n].sum())) for n in (after - 1, after)]
    assert [labelled.confirms(one) for one in seen] == [False, True]
    assert first_look(known(0.5), np.ones((1, 50), dtype=bool), line) == -1
