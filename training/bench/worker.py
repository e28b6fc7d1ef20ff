"""A process that trains one cell after the other: `python -m training.bench.worker`.

It reads one JSON line a cell on stdin and answers with one on stdout, until stdin ends. It holds
the cell's lock while it trains, so that two benches can share a folder, and goes on where a killed
training of the same cell stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from redshank import __version__
from redshank.dataset import Manifest, read_manifest
from redshank.errors import ConflictError, RedshankError
from redshank.files import rfc3339
from redshank.records import as_dict, from_dict
from redshank.run import Run, read_history, read_run
from redshank.separability import Separability

from .cells import SCHEMA, Cell, CellPlan, find_cell, write_cell
from .protocol import write_cell_manifest

WORK = "work"
RUNS = "runs"


@dataclass(frozen=True)
class Job:
    """One line to a worker."""

    plan: CellPlan
    device: Literal["cpu", "cuda"]
    threads: int


@dataclass(frozen=True)
class Answer:
    """One line back."""

    state: Literal["done", "busy", "failed"]
    """busy: another process trains this cell now."""
    message: str = ""


def run_job(job: Job, images: Manifest, out: Path, *, keep_runs: bool) -> Answer:
    """Trains and measures one cell, unless it is finished or in another's hands."""
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with _hold(out / WORK / f"{job.plan.name}.lock") as mine:
        if not mine:
            return Answer("busy")
        if find_cell(out, job.plan) is None:
            try:
                _train(job, images, out, keep_runs=keep_runs)
            except RedshankError as error:
                return Answer("failed", str(error))
        return Answer("done")


def _train(job: Job, images: Manifest, out: Path, *, keep_runs: bool) -> None:
    from training.train import train

    from .latent import measure_latent

    plan = job.plan
    pixels = None
    if plan.settings.pixels == "disk":
        name = f"pixels-{plan.data[:12]}-{plan.settings.image_size}.npy"
        pixels = _decode_once(images, plan.settings.image_size, out / WORK / name)
    settings = dataclasses.replace(plan.settings, device=job.device, threads=job.threads)
    manifest = out / WORK / f"{plan.name}.jsonl"
    write_cell_manifest(images, plan, manifest)
    # always the same folder: a killed training left its checkpoints there
    runs = out / (RUNS if keep_runs else WORK)
    folder = train(manifest, settings, runs, resume=True, pixels=pixels)
    run = read_run(folder, verify=False)
    rates = [row.images_per_s for row in read_history(folder)]
    latent = measure_latent(folder, run, images, pixels, plan.target, device=job.device)
    cell = _summarise(plan, run, statistics.median(rates) if rates else None, latent)
    if keep_runs:
        cell = dataclasses.replace(cell, run=folder.name)
    else:
        shutil.rmtree(folder)
    write_cell(out, plan, cell)
    manifest.unlink()


def _decode_once(images: Manifest, size: int, path: Path) -> Path:
    """All pixels in one file that every cell maps; the first worker makes it, the others wait."""
    from training.images import load_images

    with path.with_suffix(".turn").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            load_images(images, size, path, _silent)
        except ConflictError:  # of these images before they changed
            for stale in (path.with_suffix(".key"), path):
                stale.unlink()
            load_images(images, size, path, _silent)
    return path


def _silent(_phase: str, _done: int, _total: int) -> None:
    """No progress: cells are reported whole."""


def _summarise(plan: CellPlan, run: Run, images_per_s: float | None, latent: Separability) -> Cell:
    return Cell(
        schema=SCHEMA,
        method=plan.method,
        target=plan.target,
        labels_per_class=plan.labels_per_class,
        seed=plan.seed,
        data=plan.data,
        settings=run.settings,
        device=run.device,
        seconds=run.seconds,
        images_per_s=images_per_s,
        code_version=__version__,
        finished_at=rfc3339(time.time()),
        metrics=run.metrics,
        latent=latent,
    )


@contextmanager
def _hold(path: Path) -> Iterator[bool]:
    """Takes the lock file if it is free; deletes it afterwards."""
    with path.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.fstat(lock.fileno()).st_nlink > 0  # else its owner ended since we opened it
        except BlockingIOError:
            mine = False
        try:
            yield mine
        finally:
            if mine:
                path.unlink(missing_ok=True)


def main() -> int:
    """Answers jobs until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="manifest of all images")
    parser.add_argument("out", type=Path, help="folder of the bench")
    parser.add_argument("--keep-runs", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the bench, which ends us then
    answers: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    images = read_manifest(options.images)
    for line in sys.stdin:
        job = from_dict(Job, json.loads(line), source="job")
        answer = run_job(job, images, options.out, keep_runs=options.keep_runs)
        answers.write(json.dumps(as_dict(answer)) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
