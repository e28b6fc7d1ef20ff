"""From a finished training to an immutable run folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from redshank import __version__
from redshank.dataset import Manifest, write_manifest
from redshank.files import new_id, publish_folder, rfc3339, sha256_file
from redshank.nn.checkpoint import save_model
from redshank.records import as_dict
from redshank.run import (
    HISTORY_FILE,
    MANIFEST_FILE,
    RUN_FILE,
    SCHEMA,
    WEIGHTS_FILE,
    BackboneSpec,
    DomainMetrics,
    HeldOut,
    Run,
    Temperature,
    write_held_out,
    write_run,
)
from redshank.settings import TrainingSettings

from .data import TrainingData
from .fit import Fitted
from .history import write_history


@dataclass(frozen=True)
class Origin:
    """What a training started from."""

    manifest: Manifest
    data_sha256: str
    parent_id: str | None
    device: torch.device
    started_s: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Findings:
    """What a training found out, beside the weights."""

    held_out: HeldOut | None
    temperature: Temperature
    metrics: tuple[DomainMetrics, ...]


def publish_run(
    out_dir: Path,
    origin: Origin,
    settings: TrainingSettings,
    data: TrainingData,
    fitted: Fitted,
    findings: Findings,
    *,
    finished_s: float,
) -> Path:
    """Writes all files of a run and makes them appear in one rename; returns the folder."""
    run = _describe(origin, settings, data, fitted, findings, finished_s)
    with publish_folder(out_dir / run.run_id) as folder:
        save_model(folder / WEIGHTS_FILE, fitted.model)
        manifest = origin.manifest
        write_manifest(
            folder / MANIFEST_FILE,
            root=str(manifest.root),
            classes=manifest.classes,
            items=manifest.items,
        )
        if findings.held_out is not None:
            write_held_out(folder, findings.held_out)
        write_history(folder / HISTORY_FILE, fitted.history)
        names = sorted(path.name for path in folder.iterdir() if path.name != RUN_FILE)
        files = {name: sha256_file(folder / name) for name in names}
        write_run(folder, dataclasses.replace(run, files=files))
    return out_dir / run.run_id


def _describe(
    origin: Origin,
    settings: TrainingSettings,
    data: TrainingData,
    fitted: Fitted,
    findings: Findings,
    finished_s: float,
) -> Run:
    width = settings.width if settings.backbone == "small_cnn" else 0
    embedding_dim = fitted.model.embedding_dim
    return Run(
        schema=SCHEMA,
        run_id=new_id(finished_s),
        created_at=rfc3339(finished_s),
        code_version=__version__,
        seed=settings.seed,
        steps=settings.steps,
        device=_device_name(origin.device),
        seconds=round(finished_s - origin.started_s, 3),
        parent=origin.parent_id,
        data_sha256=origin.data_sha256,
        classes=data.classes,
        source_domains=data.source_domains,
        target_domains=data.target_domains,
        backbone=BackboneSpec(settings.backbone, settings.image_size, embedding_dim, width),
        temperature=findings.temperature,
        metrics=findings.metrics,
        settings=as_dict(settings),
        files={},
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
