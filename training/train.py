"""Manifest to run: the whole training stage, from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from redshank.dataset import Manifest, read_manifest
from redshank.files import Clock, sha256_file
from redshank.nn.backbones import Backbone
from redshank.run import HeldOut, Run, Temperature, read_run
from redshank.settings import TrainingSettings

from .calibrate import fit_temperature
from .data import TrainingData, load_data
from .evaluate import evaluate_domains, predict_logits
from .feasible import check_settings, choose_device, load_parent
from .fit import Fitted, fit
from .held_out import inherited_held_out, predict_held_out
from .images import Progress
from .processes import check_shares, joined
from .publish import Findings, Origin, publish_run
from .workspace import shared_workspace, workspace_name


def train(
    manifest_path: Path,
    settings: TrainingSettings,
    out_dir: Path,
    *,
    resume: bool = False,
    parent: Path | None = None,
    pixels: Path | None = None,
    progress: Progress = lambda _phase, _done, _total: None,
    clock: Clock = time.time,
) -> Path:
    """Trains on a manifest and publishes `out_dir/<run id>`; returns that folder.

    Equal data, settings, parent, device and threads give equal weights, also when a training was
    interrupted and went on with `resume`. Nothing appears in `out_dir` before it is complete.
    Under `torchrun` all processes train one network together; `out_dir` must be a folder that all
    of them see, and all return the same path.

    Args:
        manifest_path: what to train on; see `redshank.dataset` for the roles of domains.
        settings: the `[training]` section.
        out_dir: folder of runs.
        resume: go on where an interrupted training of the same data and settings stopped.
        parent: run whose weights to start from; classes and network must be the same.
        pixels: file of these images decoded (see `load_images`), which stays; None: one of its own.
        progress: called with (phase, done, total).
        clock: seconds since the epoch.

    Raises:
        InputError: the manifest does not allow training, or an image is broken.
        ConfigError: a setting is impossible.
        ConflictError: the same training runs already.
        StageError: the training collapsed.
    """
    started_s = clock()
    check_settings(settings)
    with joined(choose_device(settings.device)) as (processes, device), _torch_as_set(settings):
        check_shares(settings.labelled_per_step, settings.unlabelled_per_step, processes.count)
        parent_run = read_run(parent) if parent else None
        parent_id = parent_run.run_id if parent_run else None
        manifest, digest = read_manifest(manifest_path), sha256_file(manifest_path)
        origin = Origin(manifest, digest, parent_id, device, started_s)
        work_dir = out_dir / workspace_name(digest, settings, parent_id)
        with shared_workspace(work_dir, resume=resume, processes=processes) as work:
            with processes.first_alone():
                data = _read_pixels(manifest, settings, pixels or work / "images.npy", progress)
            start, held_out = _inherited(parent, parent_run, data, settings)
            fitted = _fit_all_domains(data, settings, device, work, progress, start)
            held_out = predict_held_out(data, settings, device, work, progress) or held_out
            run = ""
            if processes.writes:
                found = assess(fitted.model, data, held_out, settings.fixmatch.threshold, device)
                facts = (origin, settings, data, fitted, found)
                run = publish_run(out_dir, *facts, finished_s=clock()).name
            return out_dir / processes.agreed(run)


def _inherited(
    parent: Path | None, run: Run | None, data: TrainingData, settings: TrainingSettings
) -> tuple[Backbone | None, HeldOut | None]:
    """What a training takes over from its parent's run."""
    if parent is None or run is None:
        return None, None
    start = load_parent(parent, run, data.classes, settings)
    return start, inherited_held_out(run, parent, data)


def _fit_all_domains(
    data: TrainingData,
    settings: TrainingSettings,
    device: torch.device,
    work: Path,
    progress: Progress,
    start: Backbone | None,
) -> Fitted:
    return fit(
        data,
        settings,
        steps=settings.steps,
        device=device,
        checkpoint=work / "main.safetensors",
        phase="train",
        progress=progress,
        start=start,
    )


def _read_pixels(
    manifest: Manifest, settings: TrainingSettings, cache: Path, progress: Progress
) -> TrainingData:
    stream_bytes = settings.pixels_memory_mb * 10**6 if settings.pixels == "stream" else 0
    return load_data(manifest, settings.image_size, cache, progress, stream_bytes=stream_bytes)


def assess(
    model: Backbone,
    data: TrainingData,
    held_out: HeldOut | None,
    threshold: float,
    device: torch.device,
) -> Findings:
    """The temperature, and with it the figures of every domain."""
    temperature = choose_temperature(model, data, held_out, device)
    metrics = evaluate_domains(
        model, data, temperature=temperature.value, threshold=threshold, device=device
    )
    return Findings(held_out, temperature, metrics)


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
