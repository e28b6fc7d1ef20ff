from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.manifest_scale import CLASSES, DOMAINS, STEPS, build_tree, measure
from redshank.dataset import read_manifest
from redshank.layouts.split_file import read_split


@pytest.fixture
def out(tmp_path: Path) -> Path:
    build_tree(tmp_path / "tree", 2 * DOMAINS * CLASSES)
    return tmp_path


def test_the_tree_has_as_many_paths_as_asked_for_and_few_files(out: Path) -> None:
    build_tree(out / "tree", 2 * DOMAINS * CLASSES)  # a second time it is there already
    figures = measure(STEPS["scan"], out)
    assert figures["peak_mib"] > 0
    manifest = read_manifest(out / "m.jsonl")
    assert len({item.path for item in manifest.items}) == 2 * DOMAINS * CLASSES
    assert len(manifest.classes) == CLASSES
    assert len(list((out / "files").iterdir())) == 2
    assert all(manifest.read_image(item) for item in manifest.items[::500])


def test_the_split_step_applies_what_it_saved(out: Path) -> None:
    STEPS["scan"](out)
    STEPS["read"](out)
    STEPS["split"](out)
    assert len(read_split(out / "split.jsonl").choices) == 2 * DOMAINS * CLASSES
