"""A database of the detectors before `slope`: its streams stand where the new ones would."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from monitoring.older_state import bring_up_to_date, is_older
from monitoring.replay import differing
from redshank.store.monitor import TickWrite
from redshank.store.monitor_rows import Alarm
from tests.monitoring.field import PLAN, START, Site, Station, write_spool, write_test_bundle

TICKS = 40


@pytest.fixture
def station(tmp_path: Path) -> Station:
    write_test_bundle(tmp_path / "bundles", held_out=True)
    write_spool(tmp_path / "spool", [Site("home"), Site("fog", 30, spread=0.25)], TICKS)
    station = Station(tmp_path)
    station.now_s = START + TICKS
    station.evaluator().pass_once()
    return station


def as_older(memory: dict[str, Any]) -> dict[str, Any]:
    """The memory as the detectors of three quantiles wrote it."""
    older = json.loads(json.dumps(memory))
    for reference in ("absolute", "relative"):
        if older[reference] is not None:
            del older[reference]["slope"]
            older[reference]["M"] = [[1e9] * 7] * 7
    return dict(older)


def open_alarms(station: Station) -> list[Alarm]:
    return list(station.store.alarms(open_only=True))


def test_state_of_older_detectors_is_rebuilt_from_the_counts(station: Station) -> None:
    store, bundles = station.store, station.root / "bundles"
    before = {row.key: row.memory for row in store.streams()}
    alarms = open_alarms(station)
    assert alarms
    rows = [dataclasses.replace(r, memory=as_older(r.memory)) for r in store.streams()]
    store.commit(TickWrite(tick=store.last_tick(), streams=tuple(rows)))
    assert is_older(store)
    assert bring_up_to_date(store, bundles, PLAN) == 2
    assert {row.key: row.memory for row in store.streams()} == before
    assert differing(store, bundles, PLAN) == []
    assert not is_older(store)
    assert bring_up_to_date(store, bundles, PLAN) == 0
    station.evaluator().pass_once()
    assert open_alarms(station) == alarms


def test_without_a_detector_nothing_is_older(tmp_path: Path) -> None:
    write_test_bundle(tmp_path / "bundles", held_out=False)
    write_spool(tmp_path / "spool", [Site("new")], 2)
    station = Station(tmp_path)
    station.now_s = START + 2
    station.evaluator().pass_once()
    assert len(station.store.streams()) == 1
    assert bring_up_to_date(station.store, tmp_path / "bundles", PLAN) == 0
