"""Stand-ins for CUDA and for TensorRT's runtime, whose engine is the colour model."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from redshank.files import sha256_bytes
from tests.colour_bundle import SIDE, WEIGHT_EC, mean_colour
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
        self,
        cuda: FakeCuda,
        *,
        fits: bool = True,
        runs: bool = True,
        gain: float = 1,
        has_room: bool = True,
        output_type: int = TYPES.FLOAT,
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
            get_tensor_dtype=lambda name: TYPES.UINT8 if name == "image" else output_type,
            get_tensor_shape=lambda name: ENDS[name][2],
            get_tensor_profile_shape=lambda name, _: [(n, *ENDS[name][2][1:]) for n in (1, 4, 8)],
            create_execution_context=lambda: context if has_room else None,
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


def write_plan(folder: Path) -> Path:
    """A plan that `FakeRuntime` takes."""
    folder.mkdir()
    (folder / "model.plan").write_bytes(b"PLAN")
    (folder / "plan.json").write_text(json.dumps({"plan_sha256": sha256_bytes(b"PLAN")}))
    return folder
