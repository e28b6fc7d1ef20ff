from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.dead_workers import FOLDER, forget_dead_workers
from serving.metrics import Metrics


def test_gauges_of_killed_workers_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    dead = 4_194_304  # above the largest process id of Linux
    names = [f"gauge_livemin_{dead}.db", f"counter_{dead}.db", f"gauge_livemin_{os.getpid()}.db"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    forget_dead_workers()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_one_worker_alone_shows_its_own_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    forget_dead_workers()
    metrics = Metrics()
    metrics.requests.labels("/v1/predict", "200").inc(3)
    text = metrics.exposition().decode()
    assert 'redshank_requests_total{route="/v1/predict",status="200"} 3.0' in text
    for role in ("live", "canary", "shadow"):  # else the first failure is no increase
        assert f'redshank_release_failures_total{{role="{role}"}} 0.0' in text
