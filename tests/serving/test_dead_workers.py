from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.dead_workers import FOLDER, forget_dead_workers, keep_place, lost_in, reserve_files
from serving.metrics import Metrics

WORKER = """
import os, sys
from serving.metrics import Metrics
metrics = Metrics()
metrics.predicted(("default", "v", "gate", "live", "ok"), 10)
metrics.predicted(("default", "v", "gate", "shadow", "ok"), 5)
metrics.events_written.inc(9)
metrics.events_dropped.labels("queue_full").inc(2)
metrics.events_dropped.labels("file_deleted").inc(7)
print(os.getpid(), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The metrics of a worker that was killed with 15 - 9 - 2 events in its memory."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, check=False)
    assert done.returncode == -9
    return tmp_path


def test_what_died_in_memory_is_counted_once_and_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert lost_in(folder) == 4
    with caplog.at_level(logging.ERROR):
        forget_dead_workers()
        forget_dead_workers()
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == [
        "4 events in its memory are lost"
    ]
    assert lost_in(folder) == 0
    assert 'redshank_events_dropped_total{reason="worker_killed"} 4.0' in exposition()


def exposition() -> str:
    """What a worker started now shows, itself included."""
    code = "from serving.metrics import Metrics; print(Metrics().exposition().decode())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return done.stdout


def test_without_events_nothing_is_lost(folder: Path) -> None:
    forget_dead_workers(events=False)
    assert lost_in(folder) == 4


def test_a_torn_file_ends_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    torn = next(folder.glob("counter_*.db"))
    torn.write_bytes(b"\xff" * 3)
    assert lost_in(folder) == 0
    forget_dead_workers()
    assert "cannot be counted" in caplog.text


def test_a_worker_takes_its_place_on_the_disk_before_it_starts(folder: Path) -> None:
    for path in folder.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size > 0


def test_a_dead_worker_gives_its_place_back_and_keeps_its_counts(folder: Path) -> None:
    before = sum(path.stat().st_size for path in folder.iterdir())
    forget_dead_workers()
    assert before > 800_000
    assert sum(path.stat().st_size for path in folder.glob("counter_*.db")) < 3_000
    assert 'outcome="ok",role="live",version="v"} 10.0' in exposition()


def test_a_file_that_grew_gets_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    grown = tmp_path / f"counter_{os.getpid()}.db"
    with grown.open("wb") as file:
        file.truncate(100_000)
    assert grown.stat().st_blocks == 0
    keep_place()
    assert grown.stat().st_blocks * 512 >= 100_000


def test_a_full_disk_sends_the_metrics_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    real, asked = os.posix_fallocate, []

    def full(handle: int, start: int, size: int) -> None:
        asked.append(size)
        if len(asked) == 1:
            raise OSError(28, "No space left on device")
        real(handle, start, size)

    monkeypatch.setattr(os, "posix_fallocate", full)
    reserve_files()
    elsewhere = Path(os.environ[FOLDER])
    assert elsewhere != tmp_path
    assert not any(tmp_path.iterdir())
    assert len(list(elsewhere.iterdir())) == 3
    assert "has no place for metrics" in caplog.text
    for path in elsewhere.iterdir():
        path.unlink()
    elsewhere.rmdir()


def test_deleted_files_leave_a_worker_its_own_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    metrics = Metrics()
    metrics.swaps.inc()
    monkeypatch.setenv(FOLDER, str(tmp_path / "gone"))
    assert b"redshank_release_swaps_total 1.0" in metrics.exposition()
