"""A bundle that answers: ONNX Runtime session, calibrated confidence, novelty, golden self-test.

The only module that imports onnxruntime to serve. Export's checks, serving and the gates all get
their numbers here. Shapes: N images, H x W pixels, C classes, E embedding features, Q quantiles.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.bundle import (
    INPUT_NAME,
    MODEL_FILE,
    OUTPUT_NAMES,
    REFERENCE_FILE,
    Bundle,
    read_bundle,
    read_golden,
)
from redshank.errors import InputError, IntegrityError, MissingPartError
from redshank.http_api import ClassConfidence
from redshank.reference import Reference, read_reference

Array = npt.NDArray[Any]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
CHUNK = 64
"""Most images in one run of the session; larger calls are cut into chunks."""
SELF_TEST_SLACK = 10.0
"""Golden answers may differ by so many parity tolerances, times the largest golden value: another
CPU adds in another order."""


@dataclass(frozen=True)
class Predictions:
    """Answers to N images."""

    logits_NC: Array
    """float32, as the network gave them."""
    probabilities_NC: Array
    """float64 softmax(logits / temperature); each row sums to 1."""
    class_N: Array
    """int64 index of the most probable class."""
    confidence_N: Array
    """float64 probability of that class, calibrated, in [0, 1]."""
    margin_N: Array
    """float64 confidence minus the second class's probability, in [0, 1]."""
    embedding_NE: Array
    """float32 penultimate features."""
    novelty_N: Array
    """float64 rank of the embedding distance among validation images, in [0, 1]."""


class Model:
    """A loaded bundle; `predict` may be called from several threads at once."""

    def __init__(self, folder: Path, bundle: Bundle, reference: Reference, session: Any) -> None:
        self.folder = folder
        self.bundle = bundle
        self.reference = reference
        self._session = session

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's execution providers that the session really got, best first."""
        return tuple(self._session.get_providers())

    def run(self, images_NHW3: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
        """logits_NC and embedding_NE, float32, of uint8 images of the bundle's size.

        Raises:
            InputError: another shape or type.
        """
        spec = self.bundle.input
        expected = (spec.height, spec.width, spec.channels)
        if images_NHW3.dtype != np.uint8 or images_NHW3.shape[1:] != expected:
            raise InputError(
                f"images are {images_NHW3.dtype} {images_NHW3.shape}, "
                f"the model takes uint8 (N, {', '.join(map(str, expected))})",
                hint="Decode them with redshank.preprocess.decode_image.",
            )
        if not len(images_NHW3):
            classes, features = len(self.bundle.classes), self.bundle.embedding_dim
            return np.zeros((0, classes), np.float32), np.zeros((0, features), np.float32)
        return run_session(self._session, images_NHW3)

    def predict(self, images_NHW3: npt.NDArray[np.uint8]) -> Predictions:
        """Calibrated predictions with novelty, N >= 0.

        Raises:
            InputError: another shape or type.
        """
        logits_NC, embedding_NE = self.run(images_NHW3)
        probabilities_NC = calibrated(logits_NC, self.bundle.temperature)
        top_N2 = -np.partition(-probabilities_NC, 1, axis=1)[:, :2]
        return Predictions(
            logits_NC=logits_NC,
            probabilities_NC=probabilities_NC,
            class_N=probabilities_NC.argmax(axis=1),
            confidence_N=top_N2[:, 0],
            margin_N=top_N2[:, 0] - top_N2[:, 1],
            embedding_NE=embedding_NE,
            novelty_N=novelty_rank(self.reference, embedding_NE),
        )

    def self_test(self) -> float:
        """Run the golden inputs; returns the largest absolute difference found.

        Raises:
            IntegrityError: this runtime answers other than export promised.
        """
        golden = read_golden(self.folder)
        worst = 0.0
        pairs = zip(
            OUTPUT_NAMES,
            self.run(golden.inputs_NHWC3),
            (golden.logits_NC, golden.embedding_NE),
            strict=True,
        )
        for name, found, expected in pairs:
            scale = max(1.0, float(np.abs(expected).max()))
            allowed = SELF_TEST_SLACK * self.bundle.parity.tolerance * scale
            difference = float(np.abs(found - expected).max())
            if not difference <= allowed:  # also catches NaN
                raise IntegrityError(
                    f"bundle {self.bundle.bundle_id}: golden {name} differ by {difference:.3g}, "
                    f"allowed {allowed:.3g} (providers {', '.join(self.providers)})",
                    hint="Do not serve it here. Export the run again, or try another provider.",
                )
            worst = max(worst, difference)
        return worst


def load_model(
    bundle_dir: Path,
    *,
    threads: int = 1,
    providers: Sequence[str] | None = None,
    verify: bool = True,
) -> Model:
    """Load a bundle.

    Args:
        bundle_dir: a folder that `redshank export` wrote.
        threads: CPU threads of one run; they sleep, not spin, between runs.
        providers: ONNX Runtime providers, best first; all must load. None: CUDA where it really
            works, else the CPU.
        verify: check every digest first.

    Raises:
        InputError: no bundle is there.
        IntegrityError: a file changed, or the graph is not what the manifest says.
        MissingPartError: a provider was asked for and cannot load here.
    """
    bundle = read_bundle(bundle_dir, verify=verify)
    reference = read_reference(bundle_dir / REFERENCE_FILE)
    session = open_session(bundle_dir / MODEL_FILE, threads=threads, providers=providers)
    _check_graph(bundle_dir, bundle, session)
    return Model(bundle_dir, bundle, reference, session)


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
    parts = [
        session.run(list(OUTPUT_NAMES), {INPUT_NAME: images_NHW3[start : start + CHUNK]})
        for start in range(0, len(images_NHW3), CHUNK)
    ]
    logits_NC, embedding_NE = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits_NC, embedding_NE


def calibrated(logits_NC: Array, temperature: float) -> Array:
    """softmax(logits / temperature), float64 [N, C] (Guo et al. 2017, equation 9)."""
    scaled = np.asarray(logits_NC, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def direction(embedding_NE: Array) -> Array:
    """Embeddings scaled to length 1, float64; a zero stays zero.

    Novelty looks at directions: lengths shrink on images the network is unsure of, so that a far
    domain would lie nearer to the mean than the source images do (Mueller and Hein 2025,
    "Mahalanobis++").
    """
    x_NE = np.asarray(embedding_NE, dtype=np.float64)
    length_N1 = np.linalg.norm(x_NE, axis=1, keepdims=True)
    return np.asarray(x_NE / np.maximum(length_N1, np.finfo(np.float64).tiny))


def novelty_distance(reference: Reference, embedding_NE: Array) -> Array:
    """|(e / |e| - mean) @ projection|, float64 [N]: a Mahalanobis distance of directions."""
    centred_NE = direction(embedding_NE) - reference.embedding_mean_E
    return np.asarray(np.linalg.norm(centred_NE @ reference.embedding_projection_EP, axis=1))


def novelty_rank(reference: Reference, embedding_NE: Array) -> Array:
    """Share of validation images that lie nearer than each embedding, float64 [N] in [0, 1]."""
    quantiles_Q = reference.novelty_quantiles_Q
    levels_Q = np.linspace(0.0, 1.0, len(quantiles_Q))
    return np.interp(novelty_distance(reference, embedding_NE), quantiles_Q, levels_Q)


def top_classes(
    probabilities_C: Array, classes: Sequence[str], *, k: int = 3
) -> tuple[ClassConfidence, ...]:
    """The k most probable classes of one image, best first; ties in class order."""
    order = np.argsort(-probabilities_C, kind="stable")[:k]
    return tuple(ClassConfidence(classes[i], float(probabilities_C[i])) for i in order)


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


def _check_graph(folder: Path, bundle: Bundle, session: Any) -> None:
    """Names, types and sizes of the graph against the manifest."""
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
            f"{folder / MODEL_FILE}: inputs and outputs are {found}, expected {expected} behind a "
            "free batch axis",
            hint="Export the run again.",
        )
