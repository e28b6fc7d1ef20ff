"""The estimate as the evaluator tells it: of healthy, harmed and unfamiliar sites."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from monitoring.evaluator import Evaluator
from redshank.reference import read_reference, write_reference
from tests.monitoring.accuracy_pools import pools
from tests.monitoring.field import START, Site, Station, write_spool, write_test_bundle

CHANGE, TICKS, PER_TICK = 15, 32, 25
FLEET = (
    Site("home", per_tick=PER_TICK),
    Site("fog", CHANGE, spread=0.25, per_tick=PER_TICK),
    Site("moon", CHANGE, novelty=40.0, per_tick=PER_TICK),
    Site("hut", per_tick=2),
)


@pytest.fixture
def station(tmp_path: Path) -> Station:
    write_test_bundle(tmp_path / "bundles")
    path = tmp_path / "bundles" / "b1" / "reference.npz"
    made = dataclasses.replace(read_reference(path), accuracy=pools(error=0.05))
    write_reference(path, made)
    write_spool(tmp_path / "spool", FLEET, TICKS)
    return Station(tmp_path)


def accuracy_of(evaluator: Evaluator) -> dict[str, dict[str, Any]]:
    return {row.key.domain: row.detail["accuracy"] for row in evaluator.answering_rows()}


def test_each_site_has_an_interval_or_a_reason(station: Station) -> None:
    station.now_s = START + TICKS
    evaluator = station.evaluator()
    evaluator.pass_once()
    found = accuracy_of(evaluator)
    home, fog, moon, hut = (found[site.domain] for site in FLEET)
    # answers of these sites are right as often as confidence says
    assert home["lower"] < 0.94 < home["upper"]
    assert "of the recent answers are right" in home["sentence"]
    assert fog["lower"] < 0.76 < fog["upper"] < home["upper"]
    assert "of the answers since the onset are right" in fog["sentence"]
    assert (moon["estimate"], moon["lower"], moon["upper"]) == (None, None, None)
    assert "of a kind not seen in training" in moon["sentence"]
    assert "of the answers of its burn-in are right" in hut["sentence"]
    assert hut["upper"] - hut["lower"] > home["upper"] - home["lower"]


def test_a_restart_changes_nothing(station: Station) -> None:
    station.now_s = START + TICKS
    whole = station.evaluator()
    whole.pass_once()
    other = dataclasses.replace(station, root=station.root / "other")
    other.root.mkdir()
    for name in ("spool", "bundles"):
        (other.root / name).symlink_to(station.root / name)
    for end in (CHANGE + 4, CHANGE + 9, TICKS):  # in the middle of the alarm
        other.now_s = START + end
        stopped = other.evaluator()
        stopped.pass_once()
    assert accuracy_of(stopped) == accuracy_of(whole)
