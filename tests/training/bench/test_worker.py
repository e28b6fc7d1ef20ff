from __future__ import annotations

import dataclasses
import fcntl
from pathlib import Path

import pytest

from redshank.dataset import Manifest, read_manifest
from tests.training.conftest import SMALL, MakeManifest
from training.batches import Batch, Batches
from training.bench.cells import Cell, CellPlan, cell_path, data_digest, find_cell
from training.bench.worker import Answer, Job, run_job

FAST = dataclasses.replace(SMALL, steps=4)


@pytest.fixture
def images(make_manifest: MakeManifest) -> Manifest:
    return read_manifest(make_manifest(("north", "south", "west")))


def make_job(images: Manifest, **changes: object) -> Job:
    settings = dataclasses.replace(FAST, **changes)  # type: ignore[arg-type]  # any setting
    plan = CellPlan("m", "west", 2, 0, data_digest(images), settings)
    return Job(plan, "cpu", 1)


def trained(out: Path, job: Job) -> Cell:
    cell = find_cell(out, job.plan)
    assert cell is not None
    return cell


def test_a_cell_is_trained_once(images: Manifest, tmp_path: Path) -> None:
    job = make_job(images)
    assert run_job(job, images, tmp_path, keep_runs=False) == Answer("done")
    cell = trained(tmp_path, job)
    assert (cell.test.n, cell.test.role) == (30, "unseen")
    assert {m.n for m in cell.metrics if m.split == "train"} == {16}  # 20 less 2 a class
    assert cell.images_per_s is not None
    assert cell.images_per_s > 0
    assert cell.latent is not None
    assert cell.latent.n == 90
    assert cell.latent.domain_chance == pytest.approx(1 / 3)
    assert cell.latent.class_probe_unseen is not None
    before = cell_path(tmp_path, job.plan).stat().st_mtime_ns
    assert run_job(job, images, tmp_path, keep_runs=False) == Answer("done")
    assert cell_path(tmp_path, job.plan).stat().st_mtime_ns == before
    left = {path.suffix for path in (tmp_path / "work").iterdir()}
    assert left <= {".npy", ".key", ".turn"}


def test_a_locked_cell_is_busy(images: Manifest, tmp_path: Path) -> None:
    job = make_job(images)
    path = tmp_path / "work" / f"{job.plan.name}.lock"
    path.parent.mkdir()
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run_job(job, images, tmp_path, keep_runs=False) == Answer("busy")
    assert run_job(job, images, tmp_path, keep_runs=False) == Answer("done")


def test_a_killed_training_goes_on_to_the_same_figures(
    images: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(images, steps=12)
    assert run_job(job, images, tmp_path / "whole", keep_runs=False).state == "done"
    batch = Batches.batch
    steps: list[int] = []

    def dying(batches: Batches, step: int) -> Batch:
        steps.append(step)
        if step == 9 and len(steps) < 11:
            raise KeyboardInterrupt
        return batch(batches, step)

    monkeypatch.setattr(Batches, "batch", dying)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, images, tmp_path / "killed", keep_runs=False)
    assert run_job(job, images, tmp_path / "killed", keep_runs=False).state == "done"
    assert steps[10] == 8  # from the checkpoint, not from 0
    killed, whole = (trained(tmp_path / name, job) for name in ("killed", "whole"))
    assert killed.metrics == whole.metrics


def test_a_failure_is_an_answer(images: Manifest, tmp_path: Path) -> None:
    answer = run_job(make_job(images, width=0), images, tmp_path, keep_runs=False)
    assert answer.state == "failed"
    assert "training.width is 0" in answer.message
    assert not (tmp_path / "cells").exists()


def test_changed_images_are_decoded_again(images: Manifest, tmp_path: Path) -> None:
    assert run_job(make_job(images), images, tmp_path, keep_runs=False).state == "done"
    path = images.image_path(images.items[0])
    path.write_bytes(images.image_path(images.items[1]).read_bytes())
    again = make_job(images, steps=5)
    assert run_job(again, images, tmp_path, keep_runs=False).state == "done"


def test_a_streamed_cell_writes_no_pixels_and_ends_with_the_same_figures(
    images: Manifest, tmp_path: Path
) -> None:
    whole, streamed = make_job(images), make_job(images, pixels="stream")
    for name, job in (("whole", whole), ("streamed", streamed)):
        assert run_job(job, images, tmp_path / name, keep_runs=False).state == "done"
    assert list((tmp_path / "streamed" / "work").iterdir()) == []
    one, other = trained(tmp_path / "whole", whole), trained(tmp_path / "streamed", streamed)
    assert one.metrics == other.metrics
    assert one.latent == other.latent


def test_runs_are_kept_on_request(images: Manifest, tmp_path: Path) -> None:
    job = make_job(images)
    run_job(job, images, tmp_path, keep_runs=True)
    assert (tmp_path / "runs" / trained(tmp_path, job).run / "model.safetensors").is_file()
