"""Exported bundles on an NVIDIA device: plans run by TensorRT, graphs by CUDA in ONNX Runtime."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from export.assemble import export_run
from export.plan import ExportPlan
from export.plan_cache import cached_plan
from export.precision_gate import Limits, precision_row, reasons_against
from export.precisions import PrecisionPlan
from export.tensorrt_plan import BuildSpec
from redshank.errors import MissingPartError
from redshank.infer import Model, load_model
from redshank.onnx_session import CPU, CUDA
from redshank.plan_on_demand import load_runtime, planned_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA device"),
]
LOOSE = Limits(accuracy_drop=1.0, agreement=0.5, confidence_shift=0.05, cells_moved=1.0)
CLOSE = Limits(accuracy_drop=1.0, agreement=0.95, confidence_shift=0.005, cells_moved=0.2)


@pytest.fixture(scope="module")
def bundle_dir(run_dir: Path, plan: ExportPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the precisions that TensorRT takes."""
    further = PrecisionPlan(("fp16", "int8_tensorrt"), calibration_images=6, limits=LOOSE)
    home = tmp_path_factory.mktemp("device") / "bundles"
    return export_run(run_dir, home, dataclasses.replace(plan, precision=further))


@pytest.fixture(scope="module")
def runtime() -> tuple[Any, Any]:
    """TensorRT and CUDA."""
    try:
        return load_runtime()
    except MissingPartError as error:
        pytest.skip(error.message)


def checked(found: Model, expected: Model) -> None:
    """Its answers are those of the CPU, by the rule that a further precision is accepted by."""
    images = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8)
    row = precision_row(
        found.providers[0],
        expected.run(images)[0],
        found.run(images)[0],
        np.full(len(images), -1),
        fp32_temperature=expected.artefact.temperature,
        temperature=found.artefact.temperature,
    )
    assert reasons_against(row, CLOSE) == ()


def median_ms(model: Model, batch: int) -> float:
    """Of 50 runs after 10."""
    images, times_s = np.zeros((batch, 32, 32, 3), np.uint8), []
    for _ in range(60):
        start_s = time.perf_counter()
        model.run(images)
        times_s.append(time.perf_counter() - start_s)
    return 1000 * float(np.median(times_s[10:]))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8_tensorrt"])
def test_a_plan_runs_and_answers_as_onnx_runtime_does(
    bundle_dir: Path,
    runtime: tuple[Any, Any],
    precision: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    library, cuda = runtime
    spec = BuildSpec(max_batch=16)  # so that larger batches are cut
    folder = cached_plan(library, bundle_dir, tmp_path, spec, precision=precision)
    model = planned_model(bundle_dir, folder, precision, library=library, cuda=cuda)
    expected = load_model(bundle_dir, precision=precision, providers=[CPU])
    checked(model, expected)
    with capsys.disabled():
        for batch in (1, 8, 32):
            print(
                f"\n{precision}, batch of {batch}: {model.providers[0]} "
                f"{median_ms(model, batch):.2f} ms, CPU {median_ms(expected, batch):.2f} ms"
            )


def test_measured_tactics_serve_the_next_build(
    bundle_dir: Path, runtime: tuple[Any, Any], tmp_path: Path
) -> None:
    library = runtime[0]
    if library.__name__ != "tensorrt":
        pytest.skip("TensorRT-RTX has no timing cache")
    said: list[str] = []
    cached_plan(library, bundle_dir, tmp_path, BuildSpec(), say=said.append)
    (timing,) = tmp_path.glob("timing-*.cache")
    assert timing.stat().st_size > 0
    cached_plan(library, bundle_dir, tmp_path, BuildSpec(best_batch=4), say=said.append)
    assert not [line for line in said if "measured anew" in line]
    timing.write_bytes(b"damaged")
    cached_plan(library, bundle_dir, tmp_path, BuildSpec(best_batch=2), say=said.append)
    assert [line for line in said if "measured anew" in line]
    assert timing.stat().st_size > len(b"damaged")


def test_cuda_in_onnx_runtime_answers_as_the_cpu_does(bundle_dir: Path) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA (extra gpu in place of cpu)")
    model = load_model(bundle_dir, providers=[CUDA, CPU])
    assert model.providers[0] == CUDA
    assert load_model(bundle_dir).providers[0] == CUDA
    model.self_test()
    checked(model, load_model(bundle_dir, providers=[CPU]))
