"""The run: one training, in one immutable folder that export and reports can read without it.

    runs/<run_id>/
      run.json           this module's `Run`
      model.safetensors  the averaged weights, as evaluated
      manifest.jsonl     the data it saw, with an absolute root
      held_out.npz       out-of-fold predictions of the held-out-domain folds (may be missing)
      history.jsonl      one `HistoryRow` a logged step

`held_out.npz` holds `logits_NC` float32, `label_N` int64 (-1 unknown) and `domain_N` int64
(index into `Run.source_domains`): each image was predicted by a model that never saw its domain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.errors import InputError
from redshank.files import check_sha256, read_json, to_json
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 1
RUN_FILE = "run.json"
WEIGHTS_FILE = "model.safetensors"
MANIFEST_FILE = "manifest.jsonl"
HELD_OUT_FILE = "held_out.npz"
HISTORY_FILE = "history.jsonl"


@dataclass(frozen=True)
class BackboneSpec:
    """What `redshank.nn.build_backbone` needs to build the network again."""

    name: str
    image_size: int
    """Height and width in pixels."""
    embedding_dim: int
    width: int
    """Channels of the small CNN's first layers; 0 where the name says it all."""


@dataclass(frozen=True)
class DomainMetrics:
    """One domain's figures, ratios in [0, 1]; None where no label allows one."""

    domain: str
    role: str
    """source | target | unseen."""
    split: str
    """The split measured: val, test or train."""
    n: int
    """Images behind the figures."""
    accuracy: float | None
    ece: float | None
    """Expected calibration error, 15 equal bins, after the temperature."""
    pseudo_label_precision: float | None
    pseudo_label_coverage: float | None


@dataclass(frozen=True)
class Temperature:
    """Softmax temperature and what it was fitted on."""

    value: float
    fitted_on: str
    """held_out | validation | none."""
    n: int
    nll_before: float
    nll_after: float


@dataclass(frozen=True)
class Run:
    """`run.json`."""

    schema: int
    run_id: str
    created_at: str
    code_version: str
    seed: int
    steps: int
    device: str
    seconds: float
    parent: str | None
    """Run whose weights this one started from, or None."""
    data_sha256: str
    """Digest of the manifest it was given."""
    classes: tuple[str, ...]
    source_domains: tuple[str, ...]
    target_domains: tuple[str, ...]
    backbone: BackboneSpec
    temperature: Temperature
    metrics: tuple[DomainMetrics, ...]
    settings: dict[str, Any]
    """The `[training]` section as resolved."""
    files: dict[str, str]
    """sha256 of every other file in the folder."""


@dataclass(frozen=True)
class HistoryRow:
    """One logged step: means since the row before."""

    step: int
    loss: float
    loss_labelled: float
    loss_unlabelled: float
    loss_fixclr: float
    mask_rate: float
    """Share of unlabelled images whose pseudo-label was used."""
    pseudo_label_precision: float | None
    learning_rate: float
    images_per_s: float
    mask_rate_by_domain: dict[str, float] = field(default_factory=dict)
    """The same share a domain, of those whose images were drawn."""
    precision_by_domain: dict[str, float] = field(default_factory=dict)
    """Of used pseudo-labels, a domain with known classes each."""


@dataclass(frozen=True)
class HeldOut:
    """Out-of-fold predictions, uncalibrated."""

    logits_NC: npt.NDArray[np.float32]
    label_N: npt.NDArray[np.int64]
    domain_N: npt.NDArray[np.int64]


def write_run(folder: Path, run: Run) -> None:
    """Write `run.json` into a folder that is about to be published."""
    (folder / RUN_FILE).write_bytes(to_json(as_dict(run)))


def read_run(folder: Path, *, verify: bool = True) -> Run:
    """Read a run folder; with `verify`, check every digest.

    Raises:
        InputError: no run is there.
        IntegrityError: a file changed after training.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no run ({RUN_FILE} is missing)",
            hint="Give a folder that `redshank train` wrote, like runs/20261122T090000-4f1c9a.",
        )
    values = read_json(path)
    check_schema(values, current=SCHEMA, source=str(path))
    run = from_dict(Run, values, source=str(path))
    if verify:
        for name, digest in run.files.items():
            check_sha256(folder / name, digest, source=str(path))
    return run


def write_held_out(folder: Path, held_out: HeldOut) -> None:
    """Write the out-of-fold predictions."""
    np.savez(
        folder / HELD_OUT_FILE,
        logits_NC=held_out.logits_NC,
        label_N=held_out.label_N,
        domain_N=held_out.domain_N,
    )


def read_held_out(folder: Path) -> HeldOut | None:
    """Read the out-of-fold predictions; None when training held no domain out."""
    path = folder / HELD_OUT_FILE
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return HeldOut(arrays["logits_NC"], arrays["label_N"], arrays["domain_N"])


def read_history(folder: Path) -> tuple[HistoryRow, ...]:
    """Read the training curves."""
    path = folder / HISTORY_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return tuple(from_dict(HistoryRow, json.loads(line), source=str(path)) for line in lines)
