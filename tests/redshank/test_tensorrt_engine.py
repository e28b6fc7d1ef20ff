from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from redshank.errors import InputError, IntegrityError, StageError
from redshank.files import sha256_bytes
from redshank.plan_on_demand import PlanBuild, planned_model
from redshank.tensorrt_engine import EngineError, TensorRTSession
from tests.colour_bundle import (
    SIDE,
    WEIGHT_EC,
    mean_colour,
    random_images,
    write_colour_bundle,
)
from tests.tensorrt_names import Enumeration, FakeLogger, Recorder

TYPES = Enumeration("DataType")
MODES = Enumeration("TensorIOMode")
ENDS = {
    "image": (MODES.INPUT, TYPES.UINT8, (-1, SIDE, SIDE, 3)),
    "logits": (MODES.OUTPUT, TYPES.FLOAT, (-1, 3)),
    "embedding": (MODES.OUTPUT, TYPES.FLOAT, (-1, 3)),
}


class FakeCuda:
    """Device memory is host memory; every allocation is counted."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, *, room: int = 10) -> None:
        self.blocks: dict[int, Any] = {}
        self.streams = 0
        self.room = room

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        if len(self.blocks) >= self.room:
            return 2, 0
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.blocks[address]
        return (0,)

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        self.streams += 1
        return 0, 7

    def cudaStreamDestroy(self, _stream: int) -> tuple[int]:  # noqa: N802
        self.streams -= 1
        return (0,)

    def cudaStreamSynchronize(self, _stream: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaMemcpyAsync(  # noqa: N802
        self, target: int, source: int, count: int, kind: int, stream: int
    ) -> tuple[int]:
        device = target if kind == 1 else source
        assert count <= len(self.blocks[device]), "a copy beyond the allocation"
        assert stream == 7
        ctypes.memmove(target, source, count)
        return (0,)

    def cudaGetErrorString(self, _status: int) -> tuple[int, bytes]:  # noqa: N802
        return 0, b"out of memory"


class FakeRuntime:
    """TensorRT whose engine is the colour model; names are those of the real 11.4 bindings."""

    __name__, __version__ = "tensorrt", "11.4.0.106"
    DataType, TensorIOMode = TYPES, MODES

    class Logger(FakeLogger):
        WARNING = 2

        def __init__(self, _severity: int) -> None:
            pass

    def __init__(
        self, cuda: FakeCuda, *, fits: bool = True, runs: bool = True, gain: float = 1
    ) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.cuda, self.runs, self.gain = cuda, runs, gain
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = (0,)
        context = Recorder(
            "IExecutionContext",
            self.calls,
            set_input_shape=self._set_shape,
            set_tensor_address=self.addresses.__setitem__,
            get_tensor_shape=lambda name: (self.shape[0], *ENDS[name][2][1:]),
            execute_async_v3=self._execute,
        )
        engine = Recorder(
            "ICudaEngine",
            self.calls,
            num_io_tensors=3,
            get_tensor_name=lambda i: list(ENDS)[i],
            get_tensor_mode=lambda name: ENDS[name][0],
            get_tensor_dtype=lambda name: ENDS[name][1],
            get_tensor_shape=lambda name: ENDS[name][2],
            get_tensor_profile_shape=lambda name, _: [(n, *ENDS[name][2][1:]) for n in (1, 4, 8)],
            create_execution_context=lambda: context,
        )
        self.Runtime = lambda _: Recorder(
            "Runtime",
            self.calls,
            deserialize_cuda_engine=lambda plan: engine if fits and plan == b"PLAN" else None,
        )

    def _set_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[0] <= 8

    def _execute(self, stream: int) -> bool:
        assert stream == 7
        size = int(np.prod(self.shape))
        pixels = ctypes.string_at(self.addresses["image"], size)
        images = np.frombuffer(pixels, np.uint8).reshape(self.shape)
        embedding = mean_colour(images).astype(np.float32)
        for name, values in (
            ("embedding", embedding),
            ("logits", (embedding @ WEIGHT_EC * self.gain).astype(np.float32)),
        ):
            ctypes.memmove(self.addresses[name], values.tobytes(), values.nbytes)
        return self.runs


def test_a_plan_answers_in_pieces_of_its_largest_batch() -> None:
    cuda = FakeCuda()
    library = FakeRuntime(cuda)
    session = TensorRTSession(library, cuda, b"PLAN")
    assert (session.min_batch, session.max_batch) == (1, 8)
    images = random_images(19)
    logits, embedding = session.run(["logits", "embedding"], {"image": images})
    np.testing.assert_allclose(embedding, mean_colour(images), rtol=1e-6)
    np.testing.assert_allclose(logits, mean_colour(images) @ WEIGHT_EC, rtol=1e-5)
    shapes = [call[3][0] for call in library.calls if call[1] == "set_input_shape"]
    assert shapes == [8, 8, 3]
    assert session.get_providers() == ["tensorrt 11.4.0.106"]
    assert len(cuda.blocks) == 3
    session.close()
    assert (cuda.blocks, cuda.streams) == ({}, 0)


def test_failures_are_told_and_give_memory_back() -> None:
    cuda = FakeCuda()
    with pytest.raises(IntegrityError, match=r"does not fit tensorrt 11\.4"):
        TensorRTSession(FakeRuntime(cuda, fits=False), cuda, b"PLAN")
    full = FakeCuda(room=2)
    with pytest.raises(EngineError, match="CUDA: out of memory"):
        TensorRTSession(FakeRuntime(full), full, b"PLAN")
    assert (full.blocks, full.streams) == ({}, 0)
    session = TensorRTSession(FakeRuntime(cuda, runs=False), cuda, b"PLAN")
    with pytest.raises(EngineError, match="did not run"):
        session.run(None, {"image": random_images(2)})
    with pytest.raises(InputError, match="a batch of 0"):
        session.run(None, {"image": random_images(0)})


def test_the_fake_has_no_name_that_cuda_bindings_lacks() -> None:
    cuda = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    for name in (n for n in vars(FakeCuda) if n.startswith("cuda")):
        assert hasattr(cuda, name)
    assert hasattr(cuda.cudaMemcpyKind, "cudaMemcpyHostToDevice")


def write_plan(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.plan").write_bytes(b"PLAN")
    (folder / "plan.json").write_text(json.dumps({"plan_sha256": sha256_bytes(b"PLAN")}))
    return folder


def test_a_planned_model_must_give_the_golden_answers(tmp_path: Path) -> None:
    bundle = write_colour_bundle(tmp_path / "20261122T090000-aaaaaa")
    plan, cuda = write_plan(tmp_path / "plan"), FakeCuda()
    model = planned_model(bundle, plan, "fp32", library=FakeRuntime(cuda), cuda=cuda)
    assert model.providers == ("tensorrt 11.4.0.106",)
    images = random_images(20)
    np.testing.assert_allclose(model.predict(images).embedding_NE, mean_colour(images), rtol=1e-6)
    other = FakeCuda()
    with pytest.raises(IntegrityError, match="golden logits differ"):
        planned_model(bundle, plan, "fp32", library=FakeRuntime(other, gain=1.1), cuda=other)
    assert other.blocks == {}
    (plan / "model.plan").write_bytes(b"OTHER")
    with pytest.raises(IntegrityError, match="sha256"):
        planned_model(bundle, plan, "fp32", library=FakeRuntime(cuda), cuda=cuda)


def finished(build: PlanBuild) -> Path:
    while (folder := build.poll()) is None:
        pass
    return folder


def test_a_build_runs_beside_and_gives_its_folder(tmp_path: Path) -> None:
    code = (
        "import sys; print('talk', file=sys.stderr); print('first'); print(' '.join(sys.argv[1:]))"
    )
    program = (sys.executable, "-c", code)
    build = PlanBuild(tmp_path, "fp16", options=("--set", "a=b"), program=program)
    assert str(finished(build)) == f"export {tmp_path} --plan --precision fp16 --set a=b"


def test_a_failed_build_says_why(tmp_path: Path) -> None:
    program = (sys.executable, "-c", "import sys; sys.exit('redshank: no TensorRT library loads')")
    with pytest.raises(StageError, match="no TensorRT library loads") as caught:
        finished(PlanBuild(tmp_path, "fp32", program=program))
    assert "ONNX Runtime" in caught.value.hint


def test_a_build_can_be_ended(tmp_path: Path) -> None:
    build = PlanBuild(
        tmp_path, "fp32", program=(sys.executable, "-c", "import time; time.sleep(60)")
    )
    build.stop()
    with pytest.raises(StageError, match="exit status -15"):
        build.poll()
