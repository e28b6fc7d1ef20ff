"""The bundle: one exported model, immutable and self-proving.

    bundles/<bundle_id>/
      bundle.json     this module's `Bundle`, with the digest of every other file
      model.onnx      uint8 [batch, H, W, 3] in; logits [batch, C] and embedding [batch, E] out
      golden.npz      inputs_NHWC3 uint8 (synthetic), logits_NC, embedding_NE float32
      reference.npz   what the monitor compares traffic with (redshank/reference.py)

`golden.npz` is checked at export and again by every server before it takes traffic. Its inputs
are synthetic: a bundle carries no user's images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.errors import InputError
from redshank.files import check_sha256, read_json, to_json
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 1
BUNDLE_FILE = "bundle.json"
MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
REFERENCE_FILE = "reference.npz"
INPUT_NAME = "image"
OUTPUT_NAMES = ("logits", "embedding")


@dataclass(frozen=True)
class InputSpec:
    """What the graph takes: uint8 RGB, rows first; scaling and normalisation are inside."""

    height: int
    width: int
    channels: int = 3


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences between torch and ONNX Runtime, over real images and noise."""

    images: int
    logits: float
    embedding: float
    confidence: float
    argmax_agreement: float
    tolerance: float


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
        SchemaError: its manifest is of another schema or shape.
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
    if verify:
        for name, digest in bundle.files.items():
            check_sha256(folder / name, digest, source=str(path))
    return bundle


def write_golden(folder: Path, golden: Golden) -> None:
    """Write the golden inputs and answers."""
    np.savez_compressed(
        folder / GOLDEN_FILE,
        inputs_NHWC3=golden.inputs_NHWC3,
        logits_NC=golden.logits_NC,
        embedding_NE=golden.embedding_NE,
    )


def read_golden(folder: Path) -> Golden:
    """Read the golden inputs and answers."""
    with np.load(folder / GOLDEN_FILE, allow_pickle=False) as arrays:
        return Golden(arrays["inputs_NHWC3"], arrays["logits_NC"], arrays["embedding_NE"])
