from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from redshank.cli import main
from redshank.nn.checkpoint import load_model

from .conftest import MakeManifest

SETTINGS = {
    "width": 4,
    "image_size": 16,
    "steps": 120,
    "checkpoint_every": 10,
    "held_out": "off",
    "threads": 1,
    "device": "cpu",
    "labelled_per_step": 6,
    "unlabelled_per_step": 8,
}


def arguments(manifest: Path, out: Path, *more: str) -> list[str]:
    overrides = [text for k, v in SETTINGS.items() for text in ("--set", f"training.{k}={v}")]
    return ["train", str(manifest), "--out", str(out), "--quiet", *overrides, *more]


def test_killed_process_leaves_nothing_published_and_resumes_bit_identically(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest, cut, whole = make_manifest(), tmp_path / "cut", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-m", "redshank", *arguments(manifest, cut)])
    deadline = time.monotonic() + 120
    while not list(cut.glob(".work-*/main.safetensors")):
        assert process.poll() is None, "the training ended before its first checkpoint was seen"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name[:6] for path in cut.iterdir()] == [".work-"]
    assert main(arguments(manifest, cut, "--resume")) == 0
    assert main(arguments(manifest, whole)) == 0
    (resumed,), (straight,) = cut.iterdir(), whole.iterdir()
    expected = load_model(straight / "model.safetensors").state_dict()
    for name, value in load_model(resumed / "model.safetensors").state_dict().items():
        assert torch.equal(value, expected[name])
