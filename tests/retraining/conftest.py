from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from redshank.store.control import ControlStore
from tests.retraining.tiny_model import write_tiny_model
from tests.retraining.tiny_world import World, build_world, set_environment


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good: right on every image; collapsed: sure of one class; worse: mixes two classes up."""
    folder = tmp_path_factory.mktemp("models")
    good = np.eye(3, dtype=np.float32) * 10
    none = np.zeros(3, dtype=np.float32)
    write_tiny_model(folder / "good", good, none)
    write_tiny_model(folder / "collapsed", good, np.array([50, 0, 0], dtype=np.float32))
    write_tiny_model(folder / "worse", good[[1, 0, 2]], none)
    return folder


@pytest.fixture
def world(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    built = build_world(tmp_path, models)
    set_environment(monkeypatch.setenv, built.environment())
    return built


@pytest.fixture
def store(world: World) -> Iterator[ControlStore]:
    opened = world.open_store()
    yield opened
    opened.close()
