from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.kill_watcher import Watcher, visible
from benchmarks.serving_load import write_network
from redshank.registry import Registry

BUNDLE = "20261122T090000-aaaaaa"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_network(tmp_path / "bundles" / BUNDLE, word="a")
    (tmp_path / "runs").mkdir()
    registry = Registry(tmp_path / "models", tmp_path / "bundles")
    registry.publish(BUNDLE, actor="test", reason="", at_s=0.0)
    return tmp_path


def watch(home: Path) -> Watcher:
    watcher = Watcher(home, model_of(home))
    watcher.look()
    return watcher


def model_of(home: Path) -> str:
    (name,) = Registry(home / "models", home / "bundles").names()
    return name


def test_a_whole_home_has_no_problems(home: Path) -> None:
    watcher = watch(home)
    watcher.look()
    assert (watcher.samples, watcher.verified, watcher.problems) == (2, 2, [])


def test_a_torn_pointer_is_seen(home: Path) -> None:
    path = Registry(home / "models", home / "bundles").release_path(model_of(home))
    watcher = Watcher(home, model_of(home))
    path.write_bytes(path.read_bytes()[:-20])
    watcher.look()
    assert "not JSON" in watcher.problems[0]


def test_a_bundle_that_appears_before_it_is_whole_is_seen(home: Path) -> None:
    watcher = watch(home)
    torn = home / "bundles" / "20261122T100000-bbbbbb"
    shutil.copytree(home / "bundles" / BUNDLE, torn)
    listed = json.loads((torn / "bundle.json").read_text())["files"]
    (torn / next(iter(listed))).unlink()
    watcher.look()
    assert len(watcher.problems) == 1


def test_scratch_folders_are_not_published(home: Path) -> None:
    (home / "bundles" / ".scratch").mkdir()
    assert [folder.name for folder in visible(home / "bundles")] == [BUNDLE]
