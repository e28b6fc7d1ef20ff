"""What a worker does beside answering: it keeps house, whatever disk and clock do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from redshank.fieldstore import FieldStore
from serving.worker import Worker

StartClient = Callable[..., Any]
MakeImage = Callable[[int], bytes]


def until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_releases_are_taken_over_though_housekeeping_fails(
    start: StartClient, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []

    def fail(*_: object, **__: object) -> None:
        failures.append("spool")
        raise PermissionError("spool")

    monkeypatch.setattr("serving.worker.expire", fail)
    _, worker = start()
    until(lambda: bool(failures))
    assert worker.watcher.snapshot.live.version == home.one
    home.publish(home.two)
    until(lambda: worker.watcher.snapshot.live.version == home.two)


def test_field_images_expire_though_capture_is_off_and_spools_fail(
    start: StartClient, home: Any, image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError("spool")

    monkeypatch.setattr("serving.worker.expire", fail)
    store, now = FieldStore(home.settings.home.path("field")), time.time()
    for number, age_days in enumerate((1.9, 2.1, 400.0)):
        assert store.add(
            "gate-1", image(number), sha256=f"{number}" * 64, received_at=now - age_days * 86_400,
            client="c", sequence_id=f"s{number}", dhash="", confidence=0.5, novelty=0.5,
        )  # fmt: skip
    start(home.with_serving(capture_days=2.0))
    until(lambda: [i.sha256 for i in store.images("gate-1")] == ["0" * 64])


def test_a_clock_that_was_a_year_ahead_stops_no_housekeeping(
    home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[float] = []
    monkeypatch.setattr("serving.worker.expire", lambda _, before_s: kept.append(before_s))
    year_s, now = 365 * 86_400.0, [2e9]
    worker = Worker(home.settings, clock=lambda: now[0])
    for seconds in (2e9, 2e9 + 1, 2e9 + year_s, 2e9 + 2, 2e9 + 3):
        now[0] = seconds
        worker._tick()
    retention_s = home.settings.serving.retention_days * 86_400
    assert [at + retention_s for at in kept] == [2e9, 2e9 + year_s, 2e9 + 2]
    worker.batcher.close()
