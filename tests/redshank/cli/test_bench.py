from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.cli import main

FAST = ["training.steps=2", "training.width=4", "training.image_size=16", "training.device=cpu"]
VARIANTS = """
[variants.diverges]
"training.steps" = 40
"training.learning_rate" = 100.0
"training.weight_decay" = 1.0
[variants.impossible]
"training.width" = 0
[variants.every-label]
base = "supervised"
labels_per_class = "all"
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for domain in ("Real World", "clipart", "sketch"):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / domain / name
            folder.mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "variants.toml").write_text(VARIANTS)
    return tmp_path / "photos"


def arguments(photos: Path, *more: str) -> list[str]:
    overrides = [text for one in FAST for text in ("--set", one)]
    files = ["--out", str(photos.parent / "bench"), "--variants"]
    files += [str(photos.parent / "variants.toml")]
    return ["bench", str(photos), *files, "--labels-per-class", "2", *overrides, *more]


def test_a_folder_becomes_a_table_a_failure_is_said_and_nothing_is_trained_again(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--targets", "Real World,sketch", "--seeds", "1", "--jobs", "1"]
    assert main(arguments(photos, *chosen, "--methods", "diverges,fixmatch,every-label")) == 1
    first = capsys.readouterr()
    assert "6 cells, 0 finished" in first.err
    failed = "1 of 6: diverges, 2 labels, unseen Real World, seed 0: failed: the loss is "
    assert failed in first.err
    assert "0 of 2" in first.out
    assert "every-label, all labels, unseen sketch, seed 0:" in first.err
    cells = {path: path.stat().st_mtime_ns for path in (photos.parent / "bench/cells").iterdir()}
    assert len(cells) == 4
    command = arguments(photos, *chosen, "--methods", "fixmatch,every-label")
    assert main([*command, "--json"]) == 0
    second = capsys.readouterr()
    assert "4 cells, 4 finished" in second.err
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    table = json.loads(second.out)
    assert table == json.loads((photos.parent / "bench/table.json").read_text())
    assert table["targets"] == ["Real World", "sketch"]
    rows = {row["method"]: row for row in table["rows"]}
    assert (rows["fixmatch"]["labels_per_class"], rows["fixmatch"]["cells"]) == (2, 2)
    assert rows["every-label"]["labels_per_class"] is None
    assert table["comparisons"][0]["first"] == ["every-label", None]
    assert main([*command, "--table", "--markdown"]) == 0
    assert capsys.readouterr().out == (photos.parent / "bench/table.md").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--targets", "sketh"], "domain 'sketh' is not in the data"),
        (["--methods", "fixmach"], "method 'fixmach' is unknown"),
        (["--seeds", "0"], "at least one method, one seed"),
        (["--methods", "fixmatch,impossible"], "method impossible: training.width is 0, expected"),
    ],
)
def test_impossible_questions_are_refused(
    photos: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(arguments(photos, *more)) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (photos.parent / "bench").exists()


def test_labels_are_numbers_or_all(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments(photos, "--labels-per-class", "5,some"))
    assert "'some' is neither `all` nor a number from 1" in capsys.readouterr().err
