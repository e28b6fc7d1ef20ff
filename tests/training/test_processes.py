"""Two gloo processes against one: the same curve, the same weights, and a resume in between."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from redshank.config import load_settings
from redshank.errors import ConfigError
from redshank.nn.checkpoint import load_tensors
from redshank.run import HistoryRow, read_history
from redshank.settings import TrainingSettings
from tests.gloo import check_threads_ended
from training import fit as fit_module
from training.processes import Processes, check_shares
from training.train import train

from .conftest import SMALL, MakeManifest

CLOSE = 2e-4
"""Of losses and weights after 8 steps in float32: rounding differs in the order of sums."""

CASES: dict[str, dict[str, str | float]] = {
    "default": {"style.fourier": 0.7, "style.channel_statistics": 0.5, "style.texture": 0.3},
    "freematch": {"method": "freematch", "alignment": "domain", "fixclr.queue": 8},
    "defixmatch": {
        "method": "defixmatch",
        "fixclr.projection": 4,
        "average": "late",
        "average_statistics": "recomputed",
    },
}
RESUMED = "default"
"""Begun by one process, ended by two."""
STOPPED_AFTER = 5
SMALL_NAMES = (
    "width",
    "image_size",
    "labelled_per_step",
    "unlabelled_per_step",
    "checkpoint_every",
    "held_out",
    "threads",
    "device",
)


def settings_of(case: str) -> TrainingSettings:
    base = {name: getattr(SMALL, name) for name in SMALL_NAMES} | {"steps": 8}
    overrides = [f"training.{name}={value}" for name, value in (base | CASES[case]).items()]
    return load_settings(overrides=overrides, environment={}).training


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def worker(rank: int, manifest: str, out: str, runs: dict[str, str], ports: dict[str, int]) -> None:
    torch.set_num_threads(1)
    for folder, case in runs.items():
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ports[folder])}
        os.environ.update(where, RANK=str(rank), WORLD_SIZE="2")  # as torchrun does
        run = train(Path(manifest), settings_of(case), Path(out, folder), resume=True)
        Path(out, f"{folder}-{rank}").write_text(run.name, encoding="utf-8")
        check_threads_ended()


def only_run(folder: Path) -> Path:
    (run,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return run


def assert_alike(first: Path, second: Path) -> None:
    for one, other in zip(curve(first), curve(second), strict=True):
        assert one == pytest.approx(other, abs=CLOSE)
    weights, others = (weights_of(run) for run in (first, second))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, atol=CLOSE, rtol=CLOSE, msg=name)


def curve(run: Path) -> list[tuple[float, ...]]:
    def values(row: HistoryRow) -> tuple[float, ...]:
        return (row.step, row.loss, row.loss_unlabelled, row.loss_fixclr, row.mask_rate)

    return [values(row) for row in read_history(run)]


def weights_of(run: Path) -> dict[str, Tensor]:
    return load_tensors(run / "model.safetensors")[0]


def stop_after(manifest: Path, out: Path, steps: int) -> None:
    """One process is interrupted in the step after `steps`."""
    advance = fit_module.Loop.advance

    def stopped(loop: fit_module.Loop) -> None:
        if loop.step == steps:
            raise KeyboardInterrupt
        advance(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module.Loop, "advance", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(manifest, settings_of(RESUMED), out)
    (work,) = out.iterdir()
    _, facts = load_tensors(work / "main.safetensors")
    assert facts["step"] == 4


def test_two_processes_train_like_one_and_go_on_where_one_stopped(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = make_manifest(("north", "south", "field"))
    stop_after(manifest, tmp_path / "resumed", STOPPED_AFTER)
    runs = {**{case: case for case in CASES}, "resumed": RESUMED}
    arguments = (str(manifest), str(tmp_path), runs, {name: free_port() for name in runs})
    spawn(worker, args=arguments, nprocs=2)  # type: ignore[no-untyped-call]
    for case in CASES:
        alone = train(manifest, settings_of(case), tmp_path / "one" / case)
        for folder in [name for name, of in runs.items() if of == case]:
            together = only_run(tmp_path / folder)
            assert_alike(alone, together)
            names = {(tmp_path / f"{folder}-{rank}").read_text() for rank in (0, 1)}
            assert names == {together.name}


def test_torchrun_trains_by_the_command(make_manifest: MakeManifest, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += [f"--master-port={free_port()}", "-m", "redshank"]
    for name in ("width", "image_size", "steps", "labelled_per_step", "unlabelled_per_step"):
        command += ["--set", f"training.{name}={getattr(SMALL, name)}"]
    command += ["--set", "training.device=cpu", "--set", "training.held_out=off"]
    command += ["train", str(make_manifest()), "--out", str(tmp_path / "runs"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines == [str(only_run(tmp_path / "runs"))]


def test_batches_that_do_not_divide_are_refused() -> None:
    check_shares(24, 48, 4)
    with pytest.raises(ConfigError, match="unlabelled_per_step is 50, which 4 processes"):
        check_shares(24, 50, 4)


def test_shares_cover_the_step() -> None:
    shares = [Processes(rank, 3).share(12) for rank in range(3)]
    assert [(share.first, share.size, share.total) for share in shares] == [
        (0, 4, 12),
        (4, 4, 12),
        (8, 4, 12),
    ]
