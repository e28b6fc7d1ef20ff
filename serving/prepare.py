"""From a folder to a bundle that may answer: fit, digests, golden answers, warm-up, batch limit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from redshank.bundle import read_bundle
from redshank.errors import InputError, IntegrityError
from redshank.infer import Model, load_model
from redshank.onnx_session import CPU

RUN_S = 0.0001
"""What a run costs beside the model itself: two thread switches and a handful of NumPy calls."""
LONGEST_RUN_S = 0.1
"""A batch that takes longer is not tried: the first of its images would wait for the last."""
SLACK = 1.05
"""The smallest batch whose image is at most so much dearer than the cheapest is taken."""
SMALL_S = 0.003
"""A model whose largest run takes at most so long may run on the event loop."""
_MEASURE_S, _LEAST_RUNS = 0.03, 3


@dataclass(frozen=True)
class Prepared:
    """A bundle that may answer."""

    model: Model
    max_batch: int
    """Most images in one run."""
    is_small: bool
    """Whether a run on the CPU is so short that the event loop may do it."""


def prepare_model(folder: Path, *, name: str, max_batch: int, precision: str = "fp32") -> Prepared:
    """Load a bundle that may answer for the model `name`, and measure it.

    Args:
        folder: the bundle.
        name: model that is served.
        max_batch: largest limit allowed.
        precision: artefact that is wished; fp32 where the bundle lacks it.

    Raises:
        RedshankError: the bundle is missing, damaged, another model's, or answers other than
            promised.
    """
    bundle = read_bundle(folder, verify=False)
    if bundle.model != name:
        raise InputError(
            f"bundle {folder.name} is of model {bundle.model!r}, not {name!r}",
            hint="Export the run again with --set export.model=" + name,
        )
    if bundle.bundle_id != folder.name:
        raise IntegrityError(f"the folder {folder.name} holds the bundle {bundle.bundle_id}")
    model = load_model(folder, precision=bundle.served(precision).precision, threads=1)
    model.self_test()
    limit, run_s = batch_limit(model, max_batch=max_batch)
    return Prepared(model, limit, run_s <= SMALL_S and model.providers == (CPU,))


def batch_limit(model: Model, *, max_batch: int) -> tuple[int, float]:
    """Images in one run that pay, and seconds of such a run; warms every size up as well.

    Measured on blank images. A large network on a CPU gets 1 or 2: nothing is won by more, and all
    would wait for the last.

    Args:
        model: the bundle.
        max_batch: largest limit allowed.

    Raises:
        IntegrityError: a blank image gives NaN.
    """
    spec = model.bundle.input
    image_s: dict[int, float] = {}
    size = 1
    while True:
        blank = np.zeros((size, spec.height, spec.width, spec.channels), dtype=np.uint8)
        if not np.isfinite(model.predict(blank).probabilities_NC).all():
            raise IntegrityError(f"bundle {model.bundle.bundle_id} answers a blank image with NaN")
        run_s = _fastest_s(model, blank)
        image_s[size] = (RUN_S + run_s) / size
        if size == max_batch or 2 * run_s > LONGEST_RUN_S:
            break
        size = min(2 * size, max_batch)
    cheapest_s = min(image_s.values())
    limit = min(size for size, cost_s in image_s.items() if cost_s <= SLACK * cheapest_s)
    return limit, limit * image_s[limit] - RUN_S


def _fastest_s(model: Model, images_NHW3: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """The shortest of several runs: others on the machine only ever add time."""
    runs_s: list[float] = []
    while len(runs_s) < _LEAST_RUNS or sum(runs_s) < _MEASURE_S:
        began_s = time.perf_counter()
        model.run(images_NHW3)
        runs_s.append(time.perf_counter() - began_s)
    return min(runs_s)
