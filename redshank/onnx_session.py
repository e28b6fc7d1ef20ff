"""ONNX Runtime sessions: the only module that imports onnxruntime to serve.

Providers are judged by what a session really got, never by what the wheel lists. Shapes: N images,
H x W pixels, C classes, E embedding features.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.bundle import INPUT_NAME, OUTPUT_NAMES, Bundle
from redshank.errors import IntegrityError, MissingPartError

Array = npt.NDArray[Any]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
CHUNK = 64
"""Most images in one run of the session; larger calls are cut into chunks."""
_OUTPUTS = list(OUTPUT_NAMES)


def open_session(path: Path, *, threads: int = 1, providers: Sequence[str] | None = None) -> Any:
    """An ONNX Runtime session with no spinning threads; arguments as in `load_model`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    wanted = list(providers) if providers is not None else _automatic_providers()
    _check_known(wanted, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            # TF32 keeps 10 bits of mantissa: golden answers would not hold
            providers=[(name, {"use_tf32": "0"} if name == CUDA else {}) for name in wanted],
        )
    except Exception as error:  # onnxruntime's own types derive from Exception only
        raise IntegrityError(f"{path} does not load: {error}") from error
    lost = [name for name in wanted if name not in session.get_providers()]
    if lost and providers is not None:
        raise MissingPartError(
            f"provider {lost[0]} did not load; the session runs on "
            f"{', '.join(session.get_providers())}",
            hint="Install the driver and libraries it needs, or leave providers to redshank.",
        )
    return session


def run_session(session: Any, images_NHW3: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
    """logits_NC and embedding_NE of at least one image, in chunks."""
    if len(images_NHW3) <= CHUNK:
        logits_NC, embedding_NE = session.run(_OUTPUTS, {INPUT_NAME: images_NHW3})
        return logits_NC, embedding_NE
    parts = [
        session.run(_OUTPUTS, {INPUT_NAME: images_NHW3[start : start + CHUNK]})
        for start in range(0, len(images_NHW3), CHUNK)
    ]
    logits_NC, embedding_NE = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits_NC, embedding_NE


def _automatic_providers() -> list[str]:
    """CUDA in front only where its driver is: asking in vain prints errors on every start."""
    import onnxruntime

    if CUDA not in onnxruntime.get_available_providers():
        return [CPU]
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [CPU]
    onnxruntime.preload_dlls()
    return [CUDA, CPU]


def _check_known(wanted: Sequence[str], known: Sequence[str]) -> None:
    """The list names what the wheel was built with; whether it loads shows in the session."""
    for name in wanted:
        if name not in known:
            raise MissingPartError(
                f"onnxruntime here has no provider {name!r}, only {', '.join(known)}",
                hint="GPU providers come with the extra gpu in place of cpu.",
            )


def check_session(path: Path, bundle: Bundle, session: Any) -> None:
    """Names, types and sizes of the graph against the manifest.

    Raises:
        IntegrityError: they differ.
    """
    spec = bundle.input
    expected = {
        INPUT_NAME: ("tensor(uint8)", [spec.height, spec.width, spec.channels]),
        OUTPUT_NAMES[0]: ("tensor(float)", [len(bundle.classes)]),
        OUTPUT_NAMES[1]: ("tensor(float)", [bundle.embedding_dim]),
    }
    ends = (*session.get_inputs(), *session.get_outputs())
    found = {end.name: (end.type, list(end.shape[1:])) for end in ends}
    if found != expected or any(isinstance(end.shape[0], int) for end in ends):
        raise IntegrityError(
            f"{path}: inputs and outputs are {found}, expected {expected} behind a free batch axis",
            hint="Export the run again.",
        )
