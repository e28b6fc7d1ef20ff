from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import leave_one_out as bench
from redshank.dataset import read_manifest


def cell(method: str, target: str, seed: int, accuracy: float) -> dict[str, Any]:
    rows = [
        {"domain": target, "split": "test", "accuracy": accuracy, "ece": 0.1},
        {
            "domain": "other",
            "split": "train",
            "pseudo_label_precision": 0.9,
            "pseudo_label_coverage": 0.5,
        },
    ]
    return {"method": method, "target": target, "seed": seed, "seconds": 2.0, "metrics": rows}


def test_table_gives_mean_and_spread_over_seeds() -> None:
    cells = [cell("fixclr", t, s, 0.5 + 0.1 * s) for t in bench.TARGETS for s in (0, 1, 2)]
    cells += [cell("fixmatch", "syn", 0, 0.4)]
    text = bench.tables(cells)
    assert "| FixMatch + FixCLR | 60.0 ± 10.0 | 60.0 ± 10.0 | 60.0 ± 10.0 | 60.0 ± 10.0 |" in text
    assert "| 60.0 | 60.0 | 3 |" in text
    assert "| FixMatch | - | - | - | 40.0 | - | - | 0 to 1 |" in text
    assert "| FixMatch + FixCLR | 90.0 | 50.0 | 10.0 | 2.0 |" in text


def test_a_cell_is_trained_once_and_again_when_settings_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for domain in bench.TARGETS:
        for label in "01":
            folder = tmp_path / "digits" / domain / label
            folder.mkdir(parents=True)
            for number in range(12):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    small = dataclasses.replace(bench.METHODS["fixclr"], width=4)
    monkeypatch.setitem(bench.METHODS, "fixclr", small)
    (tmp_path / "digits" / "complete").touch()

    def run() -> float:
        bench.run_cell(tmp_path, "fixclr", "syn", 0, 2)
        return (tmp_path / "cells" / "fixclr-syn-0.json").stat().st_mtime_ns

    first = run()
    assert run() == first
    bench.run_cell(tmp_path, "fixclr", "syn", 0, 3)
    (found,) = bench.read_cells(tmp_path)
    assert found["settings"]["steps"] == 3
    assert bench.target_row(found)["n"] == 24
    assert {row["domain"] for row in found["metrics"]} == set(bench.TARGETS)
    assert json.loads(json.dumps(found)) == found


def test_target_is_all_test_and_its_labels_are_not_trained_on(tmp_path: Path) -> None:
    for domain in ("mnist", "syn"):
        for label in "01":
            folder = tmp_path / "digits" / domain / label
            folder.mkdir(parents=True)
            for number in range(15):
                Image.new("RGB", (4, 4)).save(folder / f"{number}.png")
    bench.write_cell_manifest(tmp_path / "digits", tmp_path / "m.jsonl", "syn", 3)
    manifest = read_manifest(tmp_path / "m.jsonl")
    assert manifest.source_domains == ("mnist",)
    assert {item.split for item in manifest.items if item.domain == "syn"} == {"test"}
    labelled = [i for i in manifest.items if i.domain == "mnist" and i.label]
    assert len(labelled) == 2 * bench.LABELS_PER_CLASS
