"""The bundle: one exported model, immutable and self-proving.

    bundles/<bundle_id>/
      bundle.json     this module's `Bundle`, with the digest of every other file
      model.onnx      uint8 [batch, H, W, 3] in; logits [batch, C] and embedding [batch, E] out
      golden.npz      inputs_NHWC3 uint8 (synthetic), logits_NC, embedding_NE float32
      reference.npz   what the monitor compares traffic with (redshank/reference.py)
      model.<precision>.onnx, golden.<precision>.npz, reference.<precision>.npz
                      the same for each further precision that export accepted (`Artefact`)

`golden.npz` is checked at export and again by every server before it takes traffic. Its inputs
are synthetic: a bundle carries no user's images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.array_file import read_arrays
from redshank.errors import InputError, IntegrityError, SchemaError
from redshank.files import check_sha256, read_json, to_json
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 2
BUNDLE_FILE = "bundle.json"
MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
REFERENCE_FILE = "reference.npz"
INPUT_NAME = "image"
OUTPUT_NAMES = ("logits", "embedding")
FP32 = "fp32"
INT8 = "int8"
FP16 = "fp16"
INT8_TENSORRT = "int8_tensorrt"
PRECISIONS = (INT8, FP16, INT8_TENSORRT)
"""Further precisions a bundle may hold: INT8 for CPUs, the other two for TensorRT."""
GOLDEN_SLACK = 10.0
"""fp32 golden answers may differ by so many parity tolerances: another CPU adds otherwise."""
_AGAIN = "Copy the whole bundle again from where it was exported, or export its run again."


@dataclass(frozen=True)
class InputSpec:
    """What the graph takes: uint8 RGB, rows first; scaling and normalisation are inside."""

    height: int
    width: int
    channels: int = 3


@dataclass(frozen=True)
class ParityRow:
    """Differences between torch and ONNX Runtime on one domain, or on one batch size."""

    name: str
    images: int
    logits: float
    """Largest absolute difference, divided by the largest value where that is above 1."""
    embedding: float
    confidence: float
    argmax_agreement: float


@dataclass(frozen=True)
class Parity:
    """Largest differences between torch and ONNX Runtime, over real images and noise."""

    images: int
    logits: float
    embedding: float
    confidence: float
    argmax_agreement: float
    tolerance: float
    rows: tuple[ParityRow, ...] = ()
    """Per domain and batch size; empty before schema 2."""


@dataclass(frozen=True)
class PrecisionRow:
    """One domain's answers in a further precision, compared with those of fp32."""

    domain: str
    images: int
    labelled: int
    """Images with a label, which the two accuracies are of."""
    accuracy_fp32: float | None
    accuracy: float | None
    agreement: float
    """Share of images with the same class, in [0, 1]."""
    confidence_fp32: float
    """Mean calibrated confidence, in [0, 1]."""
    confidence: float
    cells_moved: float
    """Total variation distance of the (class x confidence bin) cells, in [0, 1]."""
    logits: float
    """Largest difference of logits, divided by the largest value where that is above 1."""


@dataclass(frozen=True)
class Artefact:
    """The network in one further precision, with everything that belongs to its answers."""

    precision: str
    """One of `PRECISIONS`, or fp32."""
    file: str
    golden: str
    reference: str
    temperature: float
    """Makes its confidence closest to the calibrated one of fp32."""
    tolerance: float
    """Golden answers may differ by so much, times the largest golden value where above 1."""
    rows: tuple[PrecisionRow, ...]
    """What export judged it by, a domain each; none for fp32."""


@dataclass(frozen=True)
class DomainReport:
    """One domain's held figures at export, ratios in [0, 1]; None where unknown."""

    domain: str
    role: str
    n: int
    accuracy: float | None
    ece: float | None


@dataclass(frozen=True)
class Provenance:
    """Where the bundle comes from."""

    run_id: str
    parent_bundle: str | None
    code_version: str
    data_sha256: str
    torch_version: str
    onnx_version: str
    opset: int


@dataclass(frozen=True)
class Bundle:
    """`bundle.json`."""

    schema: int
    bundle_id: str
    model: str
    """Name under which it is released."""
    created_at: str
    input: InputSpec
    classes: tuple[str, ...]
    source_domains: tuple[str, ...]
    target_domains: tuple[str, ...]
    temperature: float
    temperature_fitted_on: str
    abstain_below: float
    """Calibrated confidence under which an answer says `abstain`."""
    embedding_dim: int
    parity: Parity
    domains: tuple[DomainReport, ...]
    provenance: Provenance
    files: dict[str, str]
    """sha256 of every other file in the folder."""
    artefacts: tuple[Artefact, ...] = ()
    """Further precisions; none before schema 2."""

    def artefact(self, precision: str) -> Artefact:
        """What belongs to one precision.

        Raises:
            InputError: this bundle has not got it.
        """
        if precision == FP32:
            tolerance = GOLDEN_SLACK * self.parity.tolerance
            files = (MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE)
            return Artefact(FP32, *files, self.temperature, tolerance, ())
        for artefact in self.artefacts:
            if artefact.precision == precision:
                return artefact
        known = ", ".join((FP32, *(a.precision for a in self.artefacts)))
        raise InputError(
            f"bundle {self.bundle_id} has no precision {precision!r}, it has {known}",
            hint=f"Export its run again with --set export.precision.further={precision}.",
        )

    def served(self, wanted: str) -> Artefact:
        """The artefact that answers where `wanted` is asked for: that one, else fp32.

        Serving, gates and monitor use this one rule, so that references always belong to the
        precision that answered.
        """
        found = {a.precision for a in self.artefacts}
        return self.artefact(wanted if wanted in found else FP32)


@dataclass(frozen=True)
class Golden:
    """Inputs with the answers they must give."""

    inputs_NHWC3: npt.NDArray[np.uint8]
    logits_NC: npt.NDArray[np.float32]
    embedding_NE: npt.NDArray[np.float32]


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write `bundle.json` into a folder that is about to be published."""
    (folder / BUNDLE_FILE).write_bytes(to_json(as_dict(bundle)))


def read_bundle(folder: Path, *, verify: bool = True) -> Bundle:
    """Read a bundle folder; with `verify`, check every digest.

    Raises:
        InputError: no bundle is there.
        SchemaError: its manifest is of another schema or shape, or a number in it is impossible.
        IntegrityError: a file changed after export.
    """
    path = folder / BUNDLE_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no bundle ({BUNDLE_FILE} is missing)",
            hint="Give a folder that `redshank export` wrote, like bundles/20261122T091500-7f3a01.",
        )
    values: Any = read_json(path)
    check_schema(values, current=SCHEMA, source=str(path))
    bundle = from_dict(Bundle, values, source=str(path))
    _check_values(bundle, path)
    if verify:
        for name, digest in bundle.files.items():
            check_sha256(folder / name, digest, source=str(path))
    return bundle


def check_listed(folder: Path, bundle: Bundle, artefact: Artefact) -> None:
    """Refuses a file of a precision that no digest was checked of.

    Raises:
        IntegrityError: the manifest does not list it.
    """
    for name in (artefact.file, artefact.golden, artefact.reference):
        if name not in bundle.files:
            raise IntegrityError(f"{folder / BUNDLE_FILE} has no digest of {name}", hint=_AGAIN)


def _check_values(bundle: Bundle, path: Path) -> None:
    """Refuses what would fail or lie later: numbers out of range, files outside the folder."""
    for artefact in (bundle.artefact(FP32), *bundle.artefacts):
        if not 0 < artefact.temperature < math.inf:  # false for NaN
            raise SchemaError(
                f"{path}: temperature of {artefact.precision} is {artefact.temperature}, expected "
                "a number above 0",
                hint=_AGAIN,
            )
        for name in (*bundle.files, artefact.file, artefact.golden, artefact.reference):
            if name != Path(name).name:
                raise SchemaError(f"{path}: {name!r} is no file of the bundle", hint=_AGAIN)
    if not 0 <= bundle.abstain_below <= 1:
        raise SchemaError(f"{path}: abstain_below is {bundle.abstain_below}, expected 0 to 1")
    if not bundle.classes or len(set(bundle.classes)) < len(bundle.classes):
        raise SchemaError(f"{path}: classes are {bundle.classes}, expected different names")


def precision_files(precision: str) -> tuple[str, str, str]:
    """Names of the graph, the golden answers and the references of a further precision."""
    return f"model.{precision}.onnx", f"golden.{precision}.npz", f"reference.{precision}.npz"


def write_golden(folder: Path, golden: Golden, *, name: str = GOLDEN_FILE) -> None:
    """Write the golden inputs and answers."""
    np.savez_compressed(
        folder / name,
        inputs_NHWC3=golden.inputs_NHWC3,
        logits_NC=golden.logits_NC,
        embedding_NE=golden.embedding_NE,
    )


def read_golden(folder: Path, *, name: str = GOLDEN_FILE) -> Golden:
    """Read the golden inputs and answers.

    Raises:
        IntegrityError: the file is missing or holds something else.
    """
    arrays = read_arrays(folder / name)
    wanted = ("inputs_NHWC3", "logits_NC", "embedding_NE")
    if lost := [array for array in wanted if array not in arrays]:
        raise IntegrityError(f"{folder / name}: array {lost[0]!r} is missing")
    return Golden(*(arrays[array] for array in wanted))
