from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from monitoring.evaluator import Pass
from monitoring.watch import stop_on_signals, watch
from redshank.errors import ConflictError
from redshank.settings import Home, MonitoringSettings, ServingSettings, Settings
from redshank.store.monitor import MonitorStore, TickWrite, open_monitor
from tests.monitoring.field import START, Site, write_spool, write_test_bundle


def settings_of(root: Path) -> Settings:
    return Settings(
        home=Home(root=str(root)),
        monitoring=MonitoringSettings(tick_s=0.25, port=0, trigger=False),
        serving=ServingSettings(flush_s=0.01, retention_days=1e6),
    )


def test_it_goes_on_until_stopped_and_frees_its_role(tmp_path: Path) -> None:
    write_test_bundle(tmp_path / "bundles")
    total = write_spool(tmp_path / "spool", [Site("home")], 3)
    stop = threading.Event()
    passes: list[Pass] = []
    addresses: list[str] = []

    def report(done: Pass) -> None:
        passes.append(done)
        if len(passes) == 3:
            stop.set()

    done = watch(
        settings_of(tmp_path),
        once=False,
        stop=stop,
        clock=lambda: START + 10,
        report=report,
        serving=addresses.append,
    )
    assert [p.events for p in passes] == [total, 0, 0]
    assert done is passes[-1]
    assert addresses[0].startswith("http://127.0.0.1:")
    with open_monitor(tmp_path / "monitor.db").only_writer():
        pass


def test_a_pass_that_fails_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_test_bundle(tmp_path / "bundles")
    total = write_spool(tmp_path / "spool", [Site("home")], 3)
    commit, passes, stop = MonitorStore.commit, list[Pass](), threading.Event()

    def refused_at_first(store: MonitorStore, change: TickWrite) -> None:
        if not passes:
            raise ConflictError("monitor.db was locked by another process for 15 s")
        commit(store, change)

    def report(done: Pass) -> None:
        passes.append(done)
        if done.events:
            stop.set()

    monkeypatch.setattr(MonitorStore, "commit", refused_at_first)
    with pytest.raises(ConflictError):
        watch(settings_of(tmp_path), once=True, stop=stop, clock=lambda: START + 10)
    watch(settings_of(tmp_path), once=False, stop=stop, clock=lambda: START + 10, report=report)
    assert "was locked by another process for 15 s; next try" in passes[0].problems[0]
    assert passes[1].events == total


def test_a_spool_file_that_cannot_be_deleted_is_a_problem_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_test_bundle(tmp_path / "bundles")
    write_spool(tmp_path / "spool", [Site("home")], 3)
    passes, stop = list[Pass](), threading.Event()
    unlink = Path.unlink

    def refused_at_first(path: Path, missing_ok: bool = False) -> None:
        if not passes and path.parent.name == "spool":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    def report(done: Pass) -> None:
        passes.append(done)
        if len(passes) == 2:
            stop.set()

    monkeypatch.setattr(Path, "unlink", refused_at_first)
    old = replace(settings_of(tmp_path), serving=ServingSettings(flush_s=0.01, retention_days=0))
    after = time.time() + 60  # of the files' own time
    watch(old, once=False, stop=stop, clock=lambda: after, report=report)
    assert passes[0].events > 0
    (problem,) = passes[0].problems
    assert problem.startswith("old spool files are kept, ")
    assert problem.endswith("Permission denied")
    assert passes[1].problems == ()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_second_one_is_refused_before_it_reads_anything(tmp_path: Path) -> None:
    with (
        open_monitor(tmp_path / "monitor.db").only_writer(),
        pytest.raises(ConflictError, match="another evaluator"),
    ):
        watch(settings_of(tmp_path), once=True, stop=threading.Event())


def test_signals_ask_to_stop_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5.0)
    assert signal.getsignal(signal.SIGTERM) is before
