"""A site's days: sums of its windows, folded once, kept when the windows are gone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from redshank.cli import main
from redshank.events import EventWriter
from redshank.store.monitor_days import days_of
from tests.monitoring.field import PLAN, Station, event

DAY = 20_000
TICK_S = 21_600.0
PLAN_OF_QUARTERS = dataclasses.replace(PLAN, tick_s=TICK_S, keep_ticks=4)


def send(station: Station, ticks: range, *, per_tick: int = 3) -> None:
    with EventWriter(station.spool, f"w{ticks.start}") as writer:
        for tick in ticks:
            at_s = DAY * 86_400 + tick * TICK_S
            writer.append(event("cape", at_s + n, class_index=n) for n in range(per_tick))
            writer.append([event("cape", at_s + 9, outcome="invalid_image", class_index=-1)])


def evaluate(station: Station, until_tick: int) -> None:
    station.now_s = DAY * 86_400 + until_tick * TICK_S
    station.evaluator().pass_once()


def test_days_are_sums_of_windows_and_outlive_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    station = Station(tmp_path, plan=PLAN_OF_QUARTERS)
    send(station, range(6))
    evaluate(station, 6)  # a day and a half
    windows = station.store.windows()
    (day,) = days_of(station.store.engine, model="default", domain="cape")
    first = [w for w in windows if w.tick < (DAY + 1) * 4]
    assert (day.day, day.events, day.errors, day.scenes) == (
        DAY,
        16,
        4,
        sum(w.scenes for w in first),
    )
    assert day.defects.undecodable == 4
    np.testing.assert_allclose(day.cells_CZ, sum(w.cells_CZ for w in first))
    np.testing.assert_allclose(day.novelty_Q, sum(w.novelty_Q for w in first))
    for end in (9, 14, 18):
        send(station, range(end - 3, end))
        evaluate(station, end)
    days = days_of(station.store.engine, model="default", domain="cape")
    assert [d.day for d in days] == [DAY, DAY + 1, DAY + 2, DAY + 3]
    assert min(w.tick for w in station.store.windows()) > (DAY + 1) * 4  # the first day's are gone
    assert (
        main(["watch", "history", "--domain", "cape", "--daily", "--set", f"home.root={tmp_path}"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["2024-10-04", "12", "4"]
    assert len(lines) == 5


def test_a_quiet_day_has_no_row_and_a_second_evaluator_folds_nothing_twice(tmp_path: Path) -> None:
    station = Station(tmp_path, plan=dataclasses.replace(PLAN_OF_QUARTERS, keep_ticks=0))
    send(station, range(0, 2))
    send(station, range(9, 14))
    for _ in range(2):
        evaluate(station, 14)
    days = days_of(station.store.engine, model="default", domain="cape")
    assert [d.day - DAY for d in days] == [0, 2]
