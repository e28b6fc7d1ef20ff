from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from redshank.fieldstore import FieldStore
from redshank.settings import MirrorSettings, Settings
from serving.metrics import Metrics
from serving.mirror import Mirror, mirror_of
from serving.worker import Worker

StartClient = Callable[..., tuple[TestClient, Worker]]
COUNTS = "'removed': 0, 'forgotten': 0, 'failed': 0, 'left': 0, 'problems': []"
UPLOADS_TWO = f"import json; print(json.dumps({{'uploaded': 2, {COUNTS}}}))"
FAILS = "import sys; sys.exit('redshank: nobody answers')"


def mirror(tmp_path: Path, code: str, *, every_s: float = 0.0) -> tuple[Mirror, Metrics]:
    metrics, lock = Metrics(), tmp_path / "field" / ".state" / "mirror.lock"
    command = (sys.executable, "-c", code)
    return Mirror(command, lock, every_s=every_s, metrics=metrics, niceness=0), metrics


def mirrored(metrics: Metrics, outcome: str) -> float:
    name = "redshank_field_mirror_total"
    return metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


def passes(metrics: Metrics, outcome: str) -> float | None:
    name = "redshank_field_mirror_passes_total"
    return metrics.registry.get_sample_value(name, {"outcome": outcome})


def looks_until(looked: Mirror, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        looked.look()
        time.sleep(0.01)


def test_passes_follow_one_another_and_are_counted(tmp_path: Path) -> None:
    made, metrics = mirror(tmp_path, UPLOADS_TWO)
    looks_until(made, lambda: mirrored(metrics, "uploaded") == 4)
    assert passes(metrics, "ok") == 2
    assert passes(metrics, "failed") == 0  # from the start: `increase` misses a first failure else
    made.stop()


def test_a_pass_is_due_once_in_a_while_for_all_workers(tmp_path: Path) -> None:
    (one, first), (two, second) = (mirror(tmp_path, UPLOADS_TWO, every_s=3600) for _ in range(2))
    one.look()
    two.look()  # the lock is held
    assert (one._running is None, two._running is None) == (False, True)
    looks_until(one, lambda: mirrored(first, "uploaded") == 2)
    for other in (one, two):
        other._look_again_at = 0.0
        other.look()  # it was a moment ago
        assert other._running is None
    lock = tmp_path / "field" / ".state" / "mirror.lock"
    os.utime(lock, (0, 0))
    two._look_again_at = 0.0
    looks_until(two, lambda: mirrored(second, "uploaded") == 2)


def test_a_mirror_that_is_away_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, metrics = mirror(tmp_path, FAILS)
    with caplog.at_level(logging.WARNING):
        looks_until(made, lambda: passes(metrics, "failed") == 3)
        made.stop()
        made._command = (sys.executable, "-c", UPLOADS_TWO)
        looks_until(made, lambda: mirrored(metrics, "uploaded") > 0)
        made.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "field images are not mirrored, they stay here: redshank: nobody answers",
        "field images are mirrored again",
    ]


def test_long_reasons_are_told_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = UPLOADS_TWO.replace("'problems': []", "'problems': ['no ' + 'way ' * 500]")
    made, metrics = mirror(tmp_path, code.replace("'failed': 0", "'failed': 1"))
    looks_until(made, lambda: mirrored(metrics, "uploaded") == 2)
    made.stop()
    assert (passes(metrics, "ok"), passes(metrics, "failed")) == (0, 1)
    assert "they stay here: no way way" in caplog.text


def test_a_disk_that_fails_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "field").touch()
    made, metrics = mirror(tmp_path, UPLOADS_TWO)
    made.look()
    assert passes(metrics, "failed") == 1


def test_stopping_ends_a_pass(tmp_path: Path) -> None:
    made, _ = mirror(tmp_path, "import time; time.sleep(60)")
    made.look()
    assert made._running is not None
    process = made._running._process
    made.stop()
    assert process.poll() is not None


def test_a_server_mirrors_what_it_keeps(
    start: StartClient, home: Any, image: Callable[[int], bytes], tmp_path: Path
) -> None:
    place = tmp_path / "elsewhere"
    settings: Settings = dataclasses.replace(
        home.with_serving(capture_domains=("gate-1",)),
        mirror=MirrorSettings(push_to=str(place), every_s=0.2),
    )
    client, worker = start(settings=settings)
    assert client.post("/v1/predict", content=image(0), headers={"X-Domain": "gate-1"}).is_success
    end = time.monotonic() + 60
    while mirrored(worker.metrics, "uploaded") < 1:
        assert time.monotonic() < end, "nothing was mirrored"
        time.sleep(0.05)
    (kept,) = FieldStore(tmp_path / "field").images("gate-1")
    assert (place / "gate-1" / kept.path.name).read_bytes() == kept.path.read_bytes()


def test_without_a_place_nothing_is_mirrored(home: Any) -> None:
    assert mirror_of(home.settings, Metrics()) is None
