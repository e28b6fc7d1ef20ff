"""May a further precision answer in place of fp32? Judged for every domain, refused with the table.

The monitor watches calibrated confidence, so it counts as much as accuracy: INT8 gets a temperature
of its own, and its mean confidence and its confidence cells must stay where fp32 has them. Shapes:
N images, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.bundle import PrecisionRow
from redshank.cells import cell_counts
from redshank.errors import StageError
from redshank.infer import calibrated

from .parity import difference

Array = npt.NDArray[Any]

TEMPERATURE_RANGE = 4.0
"""A precision whose temperature would leave fp32's by more than this factor is not repaired."""
NO_IMAGE = "no image to judge it by"
_OTHERWISE = (
    "calibrate on more images (calibration_images), or allow more: a wider margin is a decision, "
    "not a repair."
)


class PrecisionError(StageError):
    """A further precision does not answer as fp32 does."""

    exit_code = 3


@dataclass(frozen=True)
class Limits:
    """How far a further precision may be from fp32, in every domain."""

    accuracy_drop: float = 0.02
    """Largest fall of accuracy, as a ratio, where a domain has labels."""
    agreement: float = 0.9
    """Least share of images with the same class; an unlabelled domain loses at most the rest."""
    confidence_shift: float = 0.005
    """Largest change of mean calibrated confidence, as a ratio."""
    cells_moved: float = 0.2
    """Largest total variation distance of the confidence cells."""
    logits: float = float("inf")
    """Largest difference of logits, see `PrecisionRow.logits`; only fp16 is held to one."""


def matched_temperature(fp32_NC: Array, other_NC: Array, temperature: float) -> float:
    """The temperature whose probabilities are closest to the calibrated ones of fp32.

    Minimises the cross-entropy, which is convex in 1 / temperature, by golden-section search.

    Args:
        fp32_NC: logits of fp32.
        other_NC: logits of the same images in the other precision.
        temperature: of fp32.
    """
    if not np.isfinite(other_NC).all():
        return temperature  # the gate refuses it, see `reasons_against`
    wanted_NC = calibrated(fp32_NC, temperature)

    def cross_entropy(inverse: float) -> float:
        scaled_NC = other_NC.astype(np.float64) * inverse
        top_N = scaled_NC.max(axis=1)
        log_sum_N = top_N + np.log(np.exp(scaled_NC - top_N[:, None]).sum(axis=1))
        return float((log_sum_N - (wanted_NC * scaled_NC).sum(axis=1)).mean())

    low, high = 1 / (temperature * TEMPERATURE_RANGE), TEMPERATURE_RANGE / temperature
    ratio = (np.sqrt(5.0) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cross_entropy(left) < cross_entropy(right):
            high = right
        else:
            low = left
    return float(2 / (low + high))


def precision_row(
    domain: str,
    fp32_NC: Array,
    other_NC: Array,
    label_N: Array,
    *,
    fp32_temperature: float,
    temperature: float,
) -> PrecisionRow:
    """Compare one domain.

    Args:
        domain: its name.
        fp32_NC: logits of fp32.
        other_NC: logits of the other precision.
        label_N: class index, -1 where unknown.
        fp32_temperature: of fp32.
        temperature: of the other precision.
    """
    images, known_N = len(fp32_NC), label_N >= 0
    labelled = int(known_N.sum())
    if not images:
        return PrecisionRow(domain, 0, 0, None, None, 0.0, 0.0, 0.0, 1.0, 0.0)
    if not np.isfinite(other_NC).all():
        nan = float("nan")
        return PrecisionRow(domain, images, labelled, None, None, 0.0, nan, nan, 1.0, nan)
    before_NC, after_NC = calibrated(fp32_NC, fp32_temperature), calibrated(other_NC, temperature)
    class_before_N, class_after_N = before_NC.argmax(axis=1), after_NC.argmax(axis=1)
    cells = [
        cell_counts(p_NC.argmax(axis=1), p_NC.max(axis=1), num_classes=fp32_NC.shape[1]) / images
        for p_NC in (before_NC, after_NC)
    ]
    right = [
        float((found_N == label_N)[known_N].mean()) if labelled else None
        for found_N in (class_before_N, class_after_N)
    ]
    return PrecisionRow(
        domain=domain,
        images=images,
        labelled=labelled,
        accuracy_fp32=right[0],
        accuracy=right[1],
        agreement=float((class_before_N == class_after_N).mean()),
        confidence_fp32=float(before_NC.max(axis=1).mean()),
        confidence=float(after_NC.max(axis=1).mean()),
        cells_moved=float(np.abs(cells[0] - cells[1]).sum() / 2),
        logits=difference(fp32_NC, other_NC),
    )


def reasons_against(row: PrecisionRow, limits: Limits) -> tuple[str, ...]:
    """What speaks against it in one domain, in words; empty when nothing does."""
    if not row.images:
        return (NO_IMAGE,)
    if math.isnan(row.logits):
        return ("answers are not finite numbers; half precision ends at 65504",)
    drop = (row.accuracy_fp32 or 0.0) - (row.accuracy or 0.0)
    shift = abs(row.confidence - row.confidence_fp32)
    found = []
    # written as "not within", so that NaN speaks against it
    if not drop <= limits.accuracy_drop:
        found.append(f"accuracy falls by {drop:.4f}, at most {limits.accuracy_drop:g}")
    if not row.agreement >= limits.agreement:
        found.append(f"agreement {row.agreement:.4f}, at least {limits.agreement:g}")
    if not shift <= limits.confidence_shift:
        found.append(f"confidence moves by {shift:.4f}, at most {limits.confidence_shift:g}")
    if not row.cells_moved <= limits.cells_moved:
        found.append(f"cells move by {row.cells_moved:.4f}, at most {limits.cells_moved:g}")
    if not row.logits <= limits.logits:
        found.append(f"logits differ by {row.logits:.2g}, at most {limits.logits:g}")
    return tuple(found)


def checked_precision(precision: str, rows: Sequence[PrecisionRow], limits: Limits) -> None:
    """Refuses with the table when any domain has a reason.

    Raises:
        PrecisionError: names precision, domain and reason, and shows the table.
    """
    against = [f"{row.domain}: {why}" for row in rows for why in reasons_against(row, limits)]
    if against or not rows:
        unseen = not all(row.images for row in rows)
        raise PrecisionError(
            f"{precision} does not answer as fp32 does. {'. '.join(against)}.\n{format_rows(rows)}",
            hint="Leave it out of export.precision.further, "
            + ("or give the domain validation or unlabelled images." if unseen else _OTHERWISE),
        )


def format_rows(rows: Sequence[PrecisionRow]) -> str:
    """The table as text."""
    wide = max((len(row.domain) for row in rows), default=0)
    lines = [
        f"{'':<{wide}}{'images':>7}{'labelled':>9}{'accuracy':>18}{'agree':>8}"
        f"{'confidence':>18}{'cells':>8}{'logits':>9}"
    ]
    for row in rows:
        accuracy = "-"
        if row.accuracy_fp32 is not None and row.accuracy is not None:
            accuracy = f"{row.accuracy_fp32:.4f} > {row.accuracy:.4f}"
        lines.append(
            f"{row.domain:<{wide}}{row.images:>7}{row.labelled:>9}{accuracy:>18}"
            f"{row.agreement:>8.4f}{f'{row.confidence_fp32:.4f} > {row.confidence:.4f}':>18}"
            f"{row.cells_moved:>8.4f}{row.logits:>9.1e}"
        )
    return "\n".join(lines)
