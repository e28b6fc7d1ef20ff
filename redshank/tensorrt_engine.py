"""A TensorRT plan as a session: TensorRT's own runtime, memory from `cuda-bindings`, no torch.

Library and CUDA are given, so that this module imports without either and tests can hand in fakes.
It has the two methods of an ONNX Runtime session that `redshank.infer.Model` uses, so a plan takes
the place of one. Works with TensorRT 10.12 and later, 11, and TensorRT-RTX.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.errors import InputError, IntegrityError, MissingPartError, StageError

Array = npt.NDArray[Any]
OLDEST = (10, 12)
"""First TensorRT whose strongly typed networks take what we export."""


def is_too_old(version: str) -> bool:
    """Whether a version of TensorRT (not of TensorRT-RTX) is before `OLDEST`."""
    return tuple(int(part) for part in version.split(".")[:2]) < OLDEST


def check_version(library: Any) -> None:
    """Refuses a library that cannot take our plans.

    Args:
        library: module `tensorrt` or `tensorrt_rtx`.

    Raises:
        MissingPartError: it is too old.
    """
    if library.__name__ == "tensorrt" and is_too_old(library.__version__):
        raise MissingPartError(
            f"version {library.__version__} is too old, expected {OLDEST[0]}.{OLDEST[1]} or later"
        )


class EngineError(StageError):
    """CUDA or TensorRT failed while a plan ran."""


class TensorRTSession:
    """One engine, one context, one stream; runs are one at a time.

    Args:
        library: module `tensorrt` or `tensorrt_rtx`.
        cuda: module `cuda.bindings.runtime`.
        plan: a serialized engine whose inputs have a free batch axis only.

    Raises:
        IntegrityError: the plan does not fit this library or device.
        EngineError: no memory, stream or execution context is to be had.
    """

    def __init__(self, library: Any, cuda: Any, plan: bytes) -> None:
        self._library, self._cuda = library, cuda
        self._memory: dict[str, int] = {}
        self._stream: Any = None
        self._lock = threading.Lock()
        self._logger = library.Logger(library.Logger.WARNING)
        self._runtime = library.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise IntegrityError(
                f"the plan does not fit {library.__name__} {library.__version__} on this device",
                hint="Delete it from the plan cache; it is built again on the next need.",
            )
        self._engine, self._context = engine, engine.create_execution_context()
        if self._context is None:
            raise EngineError(
                "TensorRT makes no execution context, mostly for want of device memory"
            )
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        mode = library.TensorIOMode
        self._inputs = [n for n in names if engine.get_tensor_mode(n) == mode.INPUT]
        self._outputs = [n for n in names if engine.get_tensor_mode(n) == mode.OUTPUT]
        smallest, _, largest = engine.get_tensor_profile_shape(self._inputs[0], 0)
        self.min_batch, self.max_batch = int(smallest[0]), int(largest[0])
        self._stream = self._ask(cuda.cudaStreamCreate())
        try:
            self._types = {name: self._numpy_type(name) for name in names}
            for name in names:
                self._memory[name] = self._ask(cuda.cudaMalloc(self._bytes(name)))
                self._context.set_tensor_address(name, self._memory[name])
        except (EngineError, IntegrityError):
            self.close()
            raise

    def get_providers(self) -> list[str]:
        """What runs, as a session of ONNX Runtime says it."""
        return [f"{self._library.__name__} {self._library.__version__}"]

    def run(self, output_names: Sequence[str] | None, inputs: Mapping[str, Array]) -> list[Array]:
        """Copy in, run, copy out; batches beyond the profile are cut into pieces.

        Args:
            output_names: which outputs, in which order; None: all.
            inputs: arrays by name, of equal batch.

        Raises:
            InputError: an empty batch.
            EngineError: CUDA or TensorRT failed.
        """
        images = next(iter(inputs.values()))
        if len(images) < self.min_batch:
            raise InputError(f"a batch of {len(images)}, the plan takes {self.min_batch} or more")
        names = list(self._outputs if output_names is None else output_names)
        with self._lock:
            pieces = [
                self._piece(
                    names, {n: x[start : start + self.max_batch] for n, x in inputs.items()}
                )
                for start in range(0, len(images), self.max_batch)
            ]
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    def close(self) -> None:
        """Give memory and stream back; the session is of no use then."""
        while self._memory:
            self._cuda.cudaFree(self._memory.popitem()[1])
        if self._stream is not None:
            self._cuda.cudaStreamDestroy(self._stream)
            self._stream = None

    def __del__(self) -> None:
        """The last request that kept a replaced model has ended."""
        self.close()

    def _piece(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        kind = self._cuda.cudaMemcpyKind
        alive = []  # until the stream is done: copies may still read them
        for name, array in inputs.items():
            host = np.ascontiguousarray(array, dtype=self._types[name])
            alive.append(host)
            if not self._context.set_input_shape(name, host.shape):
                raise EngineError(f"TensorRT refuses {name!r} of shape {host.shape}")
            self._copy(
                self._memory[name], host.ctypes.data, host.nbytes, kind.cudaMemcpyHostToDevice
            )
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError("TensorRT did not run the plan", hint="Its own messages say why.")
        found = []
        for name in names:
            shape = tuple(self._context.get_tensor_shape(name))
            host = np.empty(shape, dtype=self._types[name])
            self._copy(
                host.ctypes.data, self._memory[name], host.nbytes, kind.cudaMemcpyDeviceToHost
            )
            found.append(host)
        self._ask(self._cuda.cudaStreamSynchronize(self._stream))
        return found

    def _copy(self, target: int, source: int, count: int, kind: Any) -> None:
        self._ask(self._cuda.cudaMemcpyAsync(target, source, count, kind, self._stream))

    def _bytes(self, name: str) -> int:
        shape = [int(n) for n in self._engine.get_tensor_shape(name)]
        return int(np.prod([self.max_batch, *shape[1:]])) * self._types[name].itemsize

    def _numpy_type(self, name: str) -> np.dtype[Any]:
        known = self._library.DataType
        types = ((known.UINT8, np.uint8), (known.FLOAT, np.float32), (known.HALF, np.float16))
        wanted = self._engine.get_tensor_dtype(name)
        for ours, theirs in types:
            if wanted == ours:
                return np.dtype(theirs)
        raise IntegrityError(f"tensor {name!r} of the plan has type {wanted}")

    def _ask(self, answer: Any) -> Any:
        """The value of a CUDA call.

        Raises:
            EngineError: its status is not success.
        """
        status, *values = answer
        if int(status) != 0:
            _, text = self._cuda.cudaGetErrorString(status)
            raise EngineError(f"CUDA: {text.decode() if isinstance(text, bytes) else text}")
        return values[0] if values else None
