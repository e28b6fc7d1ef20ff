import dataclasses

import numpy as np
import pytest

from export.precision_gate import (
    Limits,
    PrecisionError,
    checked_precision,
    format_rows,
    matched_temperature,
    precision_row,
    reasons_against,
)
from redshank.bundle import PrecisionRow
from redshank.cells import confidence_bin
from redshank.infer import calibrated

RNG = np.random.default_rng(0)
FP32 = RNG.normal(0, 3, (400, 5)).astype(np.float32)
OTHER = (FP32 + RNG.normal(0, 0.3, FP32.shape)).astype(np.float32)
LABEL = np.where(np.arange(400) < 300, RNG.integers(0, 5, 400), -1)
GOOD = PrecisionRow("coast", 100, 80, 0.9, 0.89, 0.97, 0.8, 0.801, 0.03, 0.02)


def test_a_row_against_plain_loops() -> None:
    row = precision_row("coast", FP32, OTHER, LABEL, fp32_temperature=2.0, temperature=1.9)
    before, after = calibrated(FP32, 2.0), calibrated(OTHER, 1.9)
    right_before = right_after = same = labelled = 0
    cells: dict[tuple[int, int], int] = {}
    for i in range(400):
        a, b = int(before[i].argmax()), int(after[i].argmax())
        same += a == b
        if LABEL[i] >= 0:
            labelled += 1
            right_before += a == LABEL[i]
            right_after += b == LABEL[i]
        for sign, k, p in ((1, a, before[i, a]), (-1, b, after[i, b])):
            cell = (k, int(confidence_bin(p)))
            cells[cell] = cells.get(cell, 0) + sign
    assert (row.images, row.labelled, labelled) == (400, 300, 300)
    assert row.accuracy_fp32 == pytest.approx(right_before / 300)
    assert row.accuracy == pytest.approx(right_after / 300)
    assert row.agreement == pytest.approx(same / 400)
    assert row.cells_moved == pytest.approx(sum(abs(n) for n in cells.values()) / 800)
    assert row.confidence - row.confidence_fp32 == pytest.approx(
        after.max(axis=1).mean() - before.max(axis=1).mean()
    )


def test_unlabelled_and_empty_domains() -> None:
    unknown = np.full(400, -1)
    row = precision_row("dunes", FP32, FP32, unknown, fp32_temperature=2.0, temperature=2.0)
    assert (row.accuracy_fp32, row.accuracy, row.agreement) == (None, None, 1.0)
    assert (row.cells_moved, row.logits) == (0.0, 0.0)
    assert reasons_against(row, Limits(0.0, 1.0, 0.0, 0.0, 0.0)) == ()
    nothing = precision_row(
        "dunes", FP32[:0], FP32[:0], unknown[:0], fp32_temperature=2.0, temperature=2.0
    )
    assert reasons_against(nothing, Limits()) == ("no image to judge it by",)
    with pytest.raises(PrecisionError, match="dunes: no image") as caught:
        checked_precision("int8", [GOOD, nothing], Limits())
    assert "give the domain validation or unlabelled images" in caught.value.hint


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_answer_that_is_no_number_refuses_whatever_is_allowed(bad: float) -> None:
    other = OTHER.copy()
    other[7, 2] = bad
    assert matched_temperature(FP32, other, 2.0) == 2.0
    row = precision_row("coast", FP32, other, LABEL, fp32_temperature=2.0, temperature=2.0)
    with pytest.raises(PrecisionError, match="coast: answers are not finite numbers"):
        checked_precision("fp16", [row], Limits(1.0, 0.0, 1.0, 1.0))


def test_temperature_undoes_a_change_of_scale_and_is_the_best_of_a_grid() -> None:
    assert matched_temperature(FP32, 1.3 * FP32, 2.0) == pytest.approx(2.6, rel=1e-6)
    found = matched_temperature(FP32, OTHER, 2.0)
    wanted = calibrated(FP32, 2.0)
    grid = np.linspace(0.5 * found, 2 * found, 3001)
    loss = [-(wanted * np.log(calibrated(OTHER, t))).sum() for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(loss))], rel=1e-3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"accuracy": 0.87}, "accuracy falls by 0.0300, at most 0.02"),
        ({"agreement": 0.89}, "agreement 0.8900, at least 0.9"),
        ({"confidence": 0.79}, "confidence moves by 0.0100, at most 0.005"),
        ({"cells_moved": 0.3}, "cells move by 0.3000, at most 0.2"),
        ({"logits": 0.5}, "logits differ by 0.5, at most 0.1"),
        ({"confidence": float("nan")}, "confidence moves by nan"),
    ],
)
def test_every_limit_refuses_with_the_table(change: dict[str, float], reason: str) -> None:
    limits = Limits(logits=0.1)
    checked_precision("int8", [GOOD], limits)
    bad = dataclasses.replace(GOOD, domain="marsh", **change)  # type: ignore[arg-type]  # figures
    with pytest.raises(PrecisionError, match="int8 does not answer as fp32") as caught:
        checked_precision("int8", [GOOD, bad], limits)
    assert f"marsh: {reason}" in caught.value.message
    assert format_rows([GOOD, bad]) in caught.value.message
    assert caught.value.exit_code == 3


def test_better_accuracy_is_no_reason_and_no_domain_is() -> None:
    checked_precision("int8", [dataclasses.replace(GOOD, accuracy=1.0)], Limits())
    with pytest.raises(PrecisionError):
        checked_precision("int8", [], Limits())
