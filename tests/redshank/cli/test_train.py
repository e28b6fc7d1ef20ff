from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.cli import main
from redshank.cli.train import warn_of_few_images
from redshank.dataset import Item, Manifest, write_manifest
from redshank.run import read_run

FAST = [
    "training.steps=3",
    "training.held_out=off",
    "training.width=4",
    "training.threads=1",
    "training.device=cpu",
]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    items = []
    for domain in ("north", "south"):
        for number in range(6):
            path = f"{domain}-{number}.png"
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / path)
            items.append(Item(path, domain, "ab"[number % 2] if number < 4 else ""))
    write_manifest(tmp_path / "data.jsonl", root=".", classes=("a", "b"), items=items)
    return tmp_path / "data.jsonl"


def arguments(manifest: Path, *more: str) -> list[str]:
    overrides = [text for one in FAST for text in ("--set", one)]
    return ["train", str(manifest), "--out", str(manifest.parent / "runs"), *overrides, *more]


def test_prints_the_folder_and_draws_on_stderr(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(manifest)) == 0
    captured = capsys.readouterr()
    folder = Path(captured.out.strip())
    run = read_run(folder)
    assert folder.parent == manifest.parent / "runs"
    assert run.steps == 3
    assert "train: 100%" in captured.err
    assert "temperature 1.000 fitted on none" in captured.err
    assert captured.err.startswith("redshank: 4 validation or unlabelled images")
    assert main(arguments(manifest, "--quiet", "--json", "--parent", str(folder))) == 0
    captured = capsys.readouterr()
    child = json.loads(captured.out)
    assert child["parent"] == run.run_id
    assert read_run(Path(child["folder"])).run_id == child["run_id"]
    assert captured.err == ""


def test_errors_are_one_line_and_a_hint(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (manifest.parent / "south-2.png").write_bytes(b"no image")
    assert main(arguments(manifest, "--quiet")) == 1
    error = capsys.readouterr().err
    assert "south-2.png: the 8 bytes are not an image" in error
    assert "redshank data check" in error
    assert "Traceback" not in error
    assert not [p for p in (manifest.parent / "runs").iterdir() if not p.name.startswith(".")]


def test_bars_end_before_the_error(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (manifest.parent / "south-2.png").write_bytes(b"no image")
    assert main(arguments(manifest)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("redshank: ")
    assert "decode" in lines[-3]


def test_a_file_in_the_place_of_runs(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(manifest, "--quiet", "--out", str(manifest))) == 1
    assert f"{manifest} is a file, expected a folder" in capsys.readouterr().err


def test_interrupted_says_how_to_go_on(
    manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.train.train", interrupt)
    assert main(arguments(manifest)) == 130
    error = capsys.readouterr().err
    assert "interrupted; nothing half-done was published\n  The same command with" in error


def test_an_impossible_setting_is_said_alone(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(manifest, "--set", "training.mixstyle=2")) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0] == "redshank: training.mixstyle is 2.0, expected 0.0 to 1.0"
    assert "--set training.mixstyle=VALUE" in lines[1]
    assert len(lines) == 2


def test_enough_images_for_export_are_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    few = (Item("a", "north", "a"), *(Item(f"{n}", "north", "a", "val") for n in range(19)))
    field = tuple(Item(f"f{n}", "field") for n in range(50))
    warn_of_few_images(Manifest(("a", "b"), Path(), (*few, *field)))
    assert "19 validation or unlabelled images of source domains" in capsys.readouterr().err
    warn_of_few_images(Manifest(("a", "b"), Path(), (*few, Item("x", "north", "a", "val"))))
    assert capsys.readouterr().err == ""
