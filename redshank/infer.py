"""A bundle that answers: session, calibrated confidence, novelty, golden self-test.

Export, serving and the gates all get their numbers here. Shapes: N images, H x W pixels, C classes,
E embedding features, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.bundle import (
    FP32,
    OUTPUT_NAMES,
    Artefact,
    Bundle,
    check_listed,
    read_bundle,
    read_golden,
)
from redshank.errors import InputError, IntegrityError
from redshank.http_api import ClassConfidence
from redshank.onnx_session import check_session, open_session, run_session
from redshank.reference import Reference, read_reference

Array = npt.NDArray[Any]
_TINY = float(np.finfo(np.float64).tiny)


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

    def __init__(
        self,
        folder: Path,
        bundle: Bundle,
        reference: Reference,
        session: Any,
        *,
        artefact: Artefact | None = None,
    ) -> None:
        self.folder = folder
        self.bundle = bundle
        self.artefact = artefact or bundle.artefact(FP32)
        self.reference = reference
        self._session = session

    @property
    def precision(self) -> str:
        """fp32, int8, fp16 or int8_tensorrt."""
        return self.artefact.precision

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
        probabilities_NC = calibrated(logits_NC, self.artefact.temperature)
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
        golden = read_golden(self.folder, name=self.artefact.golden)
        worst = 0.0
        pairs = zip(
            OUTPUT_NAMES,
            self.run(golden.inputs_NHWC3),
            (golden.logits_NC, golden.embedding_NE),
            strict=True,
        )
        for name, found, expected in pairs:
            scale = max(1.0, float(np.abs(expected).max()))
            allowed = self.artefact.tolerance * scale
            difference = float(np.abs(found - expected).max())
            if not difference <= allowed:  # also catches NaN
                raise IntegrityError(
                    f"bundle {self.bundle.bundle_id}: golden {name} differ by {difference:.3g}, "
                    f"allowed {allowed:.3g} ({self.precision}, {', '.join(self.providers)})",
                    hint="Do not serve it here. Export the run again, or try another provider.",
                )
            worst = max(worst, difference)
        return worst


def load_model(
    bundle_dir: Path,
    *,
    precision: str = FP32,
    threads: int = 1,
    providers: Sequence[str] | None = None,
    verify: bool = True,
    session: Any = None,
) -> Model:
    """Load a bundle.

    Args:
        bundle_dir: a folder that `redshank export` wrote.
        precision: which artefact answers, with its own temperature, references and golden answers;
            `Bundle.served` says which one a server takes where a bundle lacks what is wished.
        threads: CPU threads of one run; they sleep, not spin, between runs.
        providers: ONNX Runtime providers, best first; all must load. None: CUDA where it really
            works, else the CPU.
        verify: check every digest first.
        session: what runs this precision in place of ONNX Runtime, like a `TensorRTSession`; its
            golden answers (`Model.self_test`) are all that is known of it then.

    Raises:
        InputError: no bundle is there, or it has not got the precision.
        IntegrityError: a file changed or has no digest, or the graph is not what the manifest says.
        MissingPartError: a provider was asked for and cannot load here.
    """
    bundle = read_bundle(bundle_dir, verify=verify)
    artefact = bundle.artefact(precision)
    if verify:
        check_listed(bundle_dir, bundle, artefact)
    reference = read_reference(bundle_dir / artefact.reference)
    if session is None:
        session = open_session(bundle_dir / artefact.file, threads=threads, providers=providers)
        check_session(bundle_dir / artefact.file, bundle, session)
    return Model(bundle_dir, bundle, reference, session, artefact=artefact)


def load_served(bundle_dir: Path, wanted: str) -> Model:
    """The model as a server with `serving.precision = wanted` answers, see `Bundle.served`."""
    served = read_bundle(bundle_dir, verify=False).served(wanted)
    return load_model(bundle_dir, precision=served.precision)


def calibrated(logits_NC: Array, temperature: float) -> Array:
    """softmax(logits / temperature), float64 [N, C] (Guo et al. 2017, equation 9)."""
    scaled = np.asarray(logits_NC, dtype=np.float64) / temperature
    powers = np.exp(scaled - np.maximum.reduce(scaled, axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / np.add.reduce(powers, axis=1, keepdims=True))


def direction(embedding_NE: Array) -> Array:
    """Embeddings scaled to length 1, float64; a zero stays zero.

    Novelty looks at directions: lengths shrink on images the network is unsure of, so that a far
    domain would lie nearer to the mean than the source images do (Mueller and Hein 2025,
    "Mahalanobis++").
    """
    x_NE = np.asarray(embedding_NE, dtype=np.float64)
    return np.asarray(x_NE / np.maximum(_length(x_NE)[:, np.newaxis], _TINY))


def novelty_distance(reference: Reference, embedding_NE: Array) -> Array:
    """|(e / |e| - mean) @ projection|, float64 [N]: a Mahalanobis distance of directions."""
    centred_NE = direction(embedding_NE) - reference.embedding_mean_E
    return _length(centred_NE @ reference.embedding_projection_EP)


def novelty_rank(reference: Reference, embedding_NE: Array) -> Array:
    """Share of validation images that lie nearer than each embedding, float64 [N] in [0, 1]."""
    quantiles_Q = reference.novelty_quantiles_Q
    distance_N = novelty_distance(reference, embedding_NE)
    return np.interp(distance_N, quantiles_Q, _levels(len(quantiles_Q)))


def _length(x_NE: Array) -> Array:
    """Euclidean, of each row; the numbers of `np.linalg.norm` at half its cost."""
    return np.asarray(np.sqrt(np.add.reduce(x_NE * x_NE, axis=1)))


@lru_cache(maxsize=8)
def _levels(count: int) -> Array:
    return np.linspace(0.0, 1.0, count)


def top_classes(
    probabilities_C: Array, classes: Sequence[str], *, k: int = 3
) -> tuple[ClassConfidence, ...]:
    """The k most probable classes of one image, best first; ties in class order."""
    order = np.argsort(-probabilities_C, kind="stable")[:k]
    return tuple(ClassConfidence(classes[i], float(probabilities_C[i])) for i in order)
