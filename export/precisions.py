"""Further precisions of a bundle under construction: made, compared with fp32, accepted or not.

Calibration images are training images of every domain, sources and targets; the temperature is
fitted on them too. What a precision is judged by are images that took no part in either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from redshank.bundle import (
    FP16,
    INT8,
    INT8_TENSORRT,
    MODEL_FILE,
    OUTPUT_NAMES,
    Artefact,
    Golden,
    PrecisionRow,
    precision_files,
    read_golden,
    write_golden,
)
from redshank.dataset import Item, Manifest
from redshank.onnx_session import CPU, open_session, run_session
from redshank.reference import Reference, write_reference
from redshank.run import Run

from .answers import Items, all_answers
from .images import Pixels, pixel_chunks
from .parity import difference
from .precision_gate import (
    Limits,
    PrecisionError,
    checked_precision,
    format_rows,
    matched_temperature,
    precision_row,
)
from .quantize import float16, int8_for_cpu, int8_for_tensorrt
from .references import DomainAnswers
from .to_onnx import write_metadata

CALIBRATION_BATCH = 16
LEAST_TOLERANCE = 1e-3
"""Of golden answers, where quantisation itself moved them less."""

Answers = Mapping[str, DomainAnswers]
MakeReference = Callable[[Answers], Reference]


@dataclass(frozen=True)
class PrecisionPlan:
    """What the user decides about further precisions."""

    further: tuple[str, ...] = ()
    """Some of `redshank.bundle.PRECISIONS`."""
    require: bool = True
    """Publish nothing when one of them is refused; else leave it out and say so."""
    calibration_images: int = 64
    """Most images a domain that ranges are measured on."""
    reduce_range: bool = False
    """Weights of 7 bits in `int8`, for CPUs without VNNI."""
    fp16_tolerance: float = 5e-3
    """Largest difference of the logits of `fp16`, as in `Limits.logits`."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Fp32:
    """The bundle so far, which further precisions are compared with."""

    folder: Path
    run: Run
    manifest: Manifest
    items: Items
    """Images that represent each source and target domain."""
    answers: Answers
    """Of fp32 to them."""


def add_precisions(
    fp32: Fp32,
    plan: PrecisionPlan,
    make_reference: MakeReference,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Artefact, ...]:
    """Write graph, golden answers and references of each accepted precision into the folder.

    Args:
        fp32: graph and golden answers are written already.
        plan: see `PrecisionPlan`.
        make_reference: makes references of answers to the items of all domains.
        say: gets the tables.

    Raises:
        PrecisionError: one is refused and `plan.require` holds.
    """
    accepted = []
    calibration = {
        domain: calibration_items(fp32.manifest, domain, limit=plan.calibration_images)
        for domain in fp32.items
    }
    for precision in plan.further:
        try:
            accepted.append(_one(precision, fp32, calibration, plan, make_reference, say))
        except PrecisionError as error:
            if plan.require:
                raise
            say(f"left out: {error.message}")
            (fp32.folder / precision_files(precision)[0]).unlink(missing_ok=True)
    return tuple(accepted)


def calibration_items(
    manifest: Manifest, domain: str, *, limit: int, seed: int = 1
) -> tuple[Item, ...]:
    """Training images of one domain, labelled or not; at most half of them, or of its `val` images.

    Half, so that others are left to judge by where a domain has no `val` images. A domain of one
    image has none to calibrate on: it is judged by it.
    """
    inside = [item for item in manifest.items if item.domain == domain]
    val = [item for item in inside if item.split == "val"]
    train = [item for item in inside if item.split == "train"]
    pool = train or val
    count = min(limit, max(len(pool) // 2, 1 if train and val else 0))
    drawn = np.random.default_rng(seed).choice(len(pool), size=count, replace=False) if pool else ()
    return tuple(pool[i] for i in sorted(drawn))


def _one(
    precision: str,
    fp32: Fp32,
    calibration: Items,
    plan: PrecisionPlan,
    make_reference: MakeReference,
    say: Callable[[str], None],
) -> Artefact:
    graph, golden_name, reference_name = precision_files(precision)
    path = fp32.folder / graph
    pixels = _pixels(fp32, [item for items in calibration.values() for item in items])
    session = _made(precision, fp32.folder / MODEL_FILE, path, pixels, plan)
    temperature = _temperature(fp32, session, np.concatenate(pixels))
    answers = all_answers(session, fp32.run, fp32.manifest, fp32.items)
    rows = _rows(fp32, answers, calibration, temperature)
    limits = plan.limits
    if precision == FP16:
        limits = dataclasses.replace(limits, logits=plan.fp16_tolerance)
    checked_precision(precision, rows, limits)
    say(
        f"{precision} at temperature {temperature:.4f} (fp32 {fp32.run.temperature.value:.4f}), "
        f"fp32 > {precision}:\n{format_rows(rows)}"
    )
    write_reference(
        fp32.folder / reference_name,
        make_reference(_rescaled(answers, fp32.run.temperature.value / temperature)),
    )
    tolerance = _write_golden(fp32.folder, golden_name, session)
    write_metadata(path, {"redshank.precision": precision, "redshank.temperature": temperature})
    return Artefact(
        precision, graph, golden_name, reference_name, temperature, tolerance, tuple(rows)
    )


def _pixels(fp32: Fp32, items: Sequence[Item]) -> list[Pixels]:
    side = fp32.run.backbone.image_size
    chunks = pixel_chunks(fp32.manifest, items, height=side, width=side, size=CALIBRATION_BATCH)
    return list(chunks)


def _made(
    precision: str, source: Path, target: Path, pixels: Sequence[Pixels], plan: PrecisionPlan
) -> Any:
    """A session of the graph in another precision.

    Raises:
        PrecisionError: this network cannot be had in it.
    """
    try:
        _write_graph(precision, source, target, pixels, plan)
        return open_session(target, providers=[CPU])
    except (OSError, MemoryError):
        raise
    except Exception as error:  # converters meet unknown networks with many types
        reason = str(error).strip() or type(error).__name__
        raise PrecisionError(
            f"{precision} cannot be made of this network: {reason}",
            hint="Leave it out of export.precision.further.",
        ) from error


def _write_graph(
    precision: str, source: Path, target: Path, pixels: Sequence[Pixels], plan: PrecisionPlan
) -> None:
    if precision == INT8:
        int8_for_cpu(source, target, pixels, reduce_range=plan.reduce_range)
    elif precision == INT8_TENSORRT:
        int8_for_tensorrt(source, target, pixels)
    else:
        float16(source, target)


def _temperature(fp32: Fp32, session: Any, images_NHW3: Pixels) -> float:
    plain = open_session(fp32.folder / MODEL_FILE, providers=[CPU])
    fp32_NC, other_NC = (run_session(s, images_NHW3)[0] for s in (plain, session))
    return matched_temperature(fp32_NC, other_NC, fp32.run.temperature.value)


def _rows(
    fp32: Fp32, answers: Answers, calibration: Items, temperature: float
) -> list[PrecisionRow]:
    rows = []
    for domain, items in fp32.items.items():
        used = {item.path for item in calibration[domain]}
        fresh_N = np.array([item.path not in used for item in items], dtype=bool)
        before, after = fp32.answers[domain], answers[domain]
        rows.append(
            precision_row(
                domain,
                before.logits_NC[fresh_N],
                after.logits_NC[fresh_N],
                before.label_N[fresh_N],
                fp32_temperature=fp32.run.temperature.value,
                temperature=temperature,
            )
        )
    return rows


def _rescaled(answers: Answers, factor: float) -> Answers:
    """Logits that give the same probabilities at the temperature of fp32.

    So they can stand beside out-of-fold predictions, which only fp32 networks have made.
    """
    return {
        domain: dataclasses.replace(one, logits_NC=one.logits_NC * np.float32(factor))
        for domain, one in answers.items()
    }


def _write_golden(folder: Path, name: str, session: Any) -> float:
    """Its own answers to the golden inputs; returns how far another machine may be from them.

    As far again as this precision is from fp32: integer sums are exact everywhere, but a value
    that another machine rounds to the next level moves the answer by a part of that distance,
    while sums that overflow (8-bit products without VNNI) move it by a multiple.
    """
    plain = read_golden(folder)
    found = run_session(session, plain.inputs_NHWC3)
    write_golden(folder, Golden(plain.inputs_NHWC3, *found), name=name)
    expected = (plain.logits_NC, plain.embedding_NE)
    moved = [difference(e, f) for _, e, f in zip(OUTPUT_NAMES, expected, found, strict=True)]
    return max(LEAST_TOLERANCE, *moved)
