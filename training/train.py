"""Manifest to run: the whole training stage, from top to bottom."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from redshank import __version__
from redshank.dataset import Manifest, read_manifest, write_manifest
from redshank.errors import ConfigError, InputError, MissingPartError
from redshank.files import Clock, new_id, publish_folder, rfc3339, sha256_file
from redshank.nn.backbones import BACKBONES, Backbone
from redshank.nn.checkpoint import load_model, save_model
from redshank.records import as_dict
from redshank.run import (
    HISTORY_FILE,
    MANIFEST_FILE,
    RUN_FILE,
    SCHEMA,
    WEIGHTS_FILE,
    BackboneSpec,
    HeldOut,
    HistoryRow,
    Run,
    Temperature,
    read_run,
    write_held_out,
    write_run,
)
from redshank.settings import TrainingSettings

from .calibrate import fit_temperature
from .data import TrainingData, load_data
from .evaluate import evaluate_domains, predict_logits
from .fit import fit
from .held_out import inherited_held_out, predict_held_out
from .history import write_history
from .images import Progress
from .workspace import open_workspace, workspace_name


def train(
    manifest_path: Path,
    settings: TrainingSettings,
    out_dir: Path,
    *,
    resume: bool = False,
    parent: Path | None = None,
    progress: Progress = lambda _phase, _done, _total: None,
    clock: Clock = time.time,
) -> Path:
    """Trains on a manifest and publishes `out_dir/<run id>`; returns that folder.

    Equal data, settings, parent, device and threads give equal weights, also when a training was
    interrupted and went on with `resume`. Nothing appears in `out_dir` before it is complete.

    Args:
        manifest_path: what to train on; see `redshank.dataset` for the roles of domains.
        settings: the `[training]` section.
        out_dir: folder of runs.
        resume: go on where an interrupted training of the same data and settings stopped.
        parent: run whose weights to start from; classes and network must be the same.
        progress: called with (phase, done, total).
        clock: seconds since the epoch.

    Raises:
        InputError: the manifest does not allow training, or an image is broken.
        ConfigError: a setting is impossible.
        ConflictError: the same training runs already.
        StageError: the training collapsed.
    """
    started = clock()
    check_settings(settings)
    device = choose_device(settings.device)
    manifest, data_sha256 = read_manifest(manifest_path), sha256_file(manifest_path)
    parent_run = read_run(parent) if parent else None
    parent_id = parent_run.run_id if parent_run else None
    work_name = workspace_name(data_sha256, settings, parent_id)
    with _torch_as_set(settings), open_workspace(out_dir / work_name, resume=resume) as work:
        data = load_data(manifest, settings.image_size, work / "images.npy", progress)
        start = load_parent(parent, data, settings) if parent else None
        fitted = fit(
            data,
            settings,
            steps=settings.steps,
            device=device,
            checkpoint=work / "main.safetensors",
            phase="train",
            progress=progress,
            start=start,
        )
        held_out = predict_held_out(data, settings, device=device, work=work, progress=progress)
        if held_out is None and parent and parent_run:
            held_out = inherited_held_out(parent_run, parent, data)
        temperature = choose_temperature(fitted.model, data, held_out, device)
        metrics = evaluate_domains(
            fitted.model,
            data,
            temperature=temperature.value,
            threshold=settings.fixmatch.threshold,
            device=device,
        )
        run = Run(
            schema=SCHEMA,
            run_id=new_id(clock()),
            created_at=rfc3339(clock()),
            code_version=__version__,
            seed=settings.seed,
            steps=settings.steps,
            device=_device_name(device),
            seconds=round(clock() - started, 3),
            parent=parent_id,
            data_sha256=data_sha256,
            classes=data.classes,
            source_domains=data.source_domains,
            target_domains=data.target_domains,
            backbone=_spec(fitted.model, settings),
            temperature=temperature,
            metrics=metrics,
            settings=as_dict(settings),
            files={},
        )
        return publish_run(out_dir, run, fitted.model, manifest, held_out, fitted.history)


def check_settings(settings: TrainingSettings) -> None:
    """Refuses settings that cannot work, by name."""
    limits = {
        "steps": (settings.steps, 1, 10**9),
        "width": (settings.width, 1, 4096),
        "image_size": (settings.image_size, 16, 4096),
        "labelled_per_step": (settings.labelled_per_step, 2, 10**6),
        "unlabelled_per_step": (settings.unlabelled_per_step, 2, 10**6),
        "learning_rate": (settings.learning_rate, 1e-9, 100.0),
        "weight_decay": (settings.weight_decay, 0.0, 1.0),
        "ema_decay": (settings.ema_decay, 0.0, 0.999999),
        "field_share": (settings.field_share, 0.0, 1.0),
        "colour_jitter": (settings.colour_jitter, 0.0, 1.0),
        "held_out_steps": (settings.held_out_steps, 1, 10**9),
        "checkpoint_every": (settings.checkpoint_every, 1, 10**9),
        "threads": (settings.threads, 0, 4096),
        "seed": (settings.seed, 0, 2**31),
        "fixmatch.weight": (settings.fixmatch.weight, 0.0, 1e6),
        "fixmatch.threshold": (settings.fixmatch.threshold, 0.0, 1.0),
        "fixclr.weight": (settings.fixclr.weight, 0.0, 1e6),
        "fixclr.temperature": (settings.fixclr.temperature, 1e-4, 1e4),
        "fixclr.ramp_share": (settings.fixclr.ramp_share, 0.0, 1.0),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise ConfigError(f"training.{name} is {value}, expected {low} to {high}")
    if settings.backbone not in BACKBONES:
        raise ConfigError(
            f"training.backbone is {settings.backbone!r}, expected one of {', '.join(BACKBONES)}"
        )
    if settings.weights and not Path(settings.weights).is_file():
        raise InputError(f"training.weights: {settings.weights} does not exist")


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU when there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingPartError(
            "training.device is cuda, but torch sees no GPU", hint="See: redshank doctor"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def load_parent(folder: Path, data: TrainingData, settings: TrainingSettings) -> Backbone:
    """The parent's averaged weights, where network and classes are the same."""
    run = read_run(folder)
    found = (run.classes, run.backbone.name, run.backbone.image_size)
    wanted = (data.classes, settings.backbone, settings.image_size)
    model = load_model(folder / WEIGHTS_FILE)
    for name, old, new in zip(("classes", "backbone", "image size"), found, wanted, strict=True):
        if old != new:
            raise InputError(
                f"{folder} was trained with {name} {old}, this training has {new}",
                hint="Train without a parent, or give one with the same network and classes.",
            )
    if model.recipe["width"] != settings.width:
        raise InputError(
            f"{folder} has width {model.recipe['width']}, training.width is {settings.width}"
        )
    return model


def choose_temperature(
    model: Backbone, data: TrainingData, held_out: HeldOut | None, device: torch.device
) -> Temperature:
    """Fitted on held-out-domain predictions where there are any, else on validation images."""
    if held_out is not None:
        fitted = fit_temperature(held_out.logits_NC, held_out.label_N, fitted_on="held_out")
        if fitted.fitted_on != "none":
            return fitted
    val = [data.indices(d, "val", labelled=True) for d in data.source_domains]
    indices = np.concatenate(val)
    logits_NC = predict_logits(model, data, indices, device)
    return fit_temperature(logits_NC, data.label_N.numpy()[indices], fitted_on="validation")


def publish_run(
    out_dir: Path,
    run: Run,
    model: Backbone,
    manifest: Manifest,
    held_out: HeldOut | None,
    history: tuple[HistoryRow, ...],
) -> Path:
    """Writes all files of a run and makes them appear in one rename."""
    target = out_dir / run.run_id
    with publish_folder(target) as folder:
        save_model(folder / WEIGHTS_FILE, model.cpu())
        write_manifest(
            folder / MANIFEST_FILE,
            root=str(manifest.root),
            classes=manifest.classes,
            items=manifest.items,
        )
        if held_out is not None:
            write_held_out(folder, held_out)
        write_history(folder / HISTORY_FILE, history)
        names = sorted(path.name for path in folder.iterdir() if path.name != RUN_FILE)
        files = {name: sha256_file(folder / name) for name in names}
        write_run(folder, dataclasses.replace(run, files=files))
    return target


def _spec(model: Backbone, settings: TrainingSettings) -> BackboneSpec:
    width = settings.width if settings.backbone == "small_cnn" else 0
    return BackboneSpec(settings.backbone, settings.image_size, model.embedding_dim, width)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@contextmanager
def _torch_as_set(settings: TrainingSettings) -> Iterator[None]:
    """Threads as asked for, and repeatable convolutions on a GPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads)
    try:
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            yield
    finally:
        torch.set_num_threads(threads)
