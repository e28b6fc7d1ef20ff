from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import leave_one_out
from benchmarks.old_cells import NAMES, import_cells
from redshank.records import as_dict
from redshank.settings import TrainingSettings


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for domain in leave_one_out.DOMAINS:
        for label in "01":
            folder = tmp_path / "digits" / domain / label
            folder.mkdir(parents=True)
            for number in range(12):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "digits" / "complete").touch()
    return tmp_path / "digits"


def old_cell(method: str, **changes: Any) -> dict[str, Any]:
    """A cell as it was written before there were variants."""
    settings = as_dict(TrainingSettings())
    for later in set(settings) - {"steps", "seed", "fixmatch", "fixclr", "colour_jitter"}:
        del settings[later]
    settings["fixclr"] = {"weight": 0.1 if method == "fixclr" else 0.0}
    settings["fixmatch"]["weight"] = 1.0 if method in ("fixmatch", "fixclr") else 0.0
    if method.startswith("all72"):
        settings |= {"labelled_per_step": 72, "colour_jitter": 0.0}
    settings |= {"held_out": "off", "seed": 1, "threads": 1, "device": "cpu"} | changes
    figures = {"ece": 0.1, "pseudo_label_precision": None, "pseudo_label_coverage": None}
    rows = [{"domain": "syn", "role": "unseen", "split": "test", "n": 24, "accuracy": 0.5}]
    if not method.startswith("all72"):
        others = [domain for domain in leave_one_out.DOMAINS if domain != "syn"]
        train = {"role": "source", "split": "train", "n": 4, "accuracy": 0.5}
        rows += [{"domain": domain, **train} for domain in others]
    metrics = [{**row, **figures} for row in rows]
    one = {"method": method, "target": "syn", "seed": 1, "seconds": 2.0}
    return {**one, "settings": settings, "metrics": metrics}


def write_old(folder: Path, cell: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{cell['method']}-syn-1.json").write_text(json.dumps(cell))


def test_old_cells_are_taken_over_where_the_settings_are_the_same(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("supervised", "fixmatch", "fixclr", "all72_cj0"):
        write_old(tmp_path / "old", old_cell(method))
    assert import_cells(tmp_path / "old", tmp_path, digits) == 4
    assert import_cells(tmp_path / "old", tmp_path, digits) == 0
    methods = "supervised,fixmatch,fixmatch+fixclr,all-labels-weak"
    asked = ["--methods", methods, "--targets", "syn", "--first-seed", "1", "--seeds", "1"]
    assert leave_one_out.main(["--out", str(tmp_path), *asked, "--table", "--markdown"]) == 0
    table = capsys.readouterr().out
    for method, labels in (("supervised", 10), ("fixmatch+fixclr", 10), ("all-labels-weak", "all")):
        assert f"| {method} | {labels} | 50.0 | 50.0 | 50.0 | 1 |" in table


@pytest.mark.parametrize(
    "change", [{"steps": 3}, {"learning_rate": 0.5}, {"gone": 1}, {"backbone": "resnet18"}]
)
def test_others_are_left(digits: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    write_old(tmp_path / "old", old_cell("fixmatch", **change))
    assert import_cells(tmp_path / "old", tmp_path, digits) == 0


def test_old_cells_with_other_numbers_of_labels_are_left(digits: Path, tmp_path: Path) -> None:
    cell = old_cell("fixmatch")
    cell["metrics"][1]["n"] = 14
    write_old(tmp_path / "old", cell)
    assert import_cells(tmp_path / "old", tmp_path, digits) == 0
    assert set(NAMES) >= {"supervised", "fixmatch", "fixclr"}
