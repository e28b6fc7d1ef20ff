"""Which versions are in use, also while a release cannot be read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from monitoring.releases import Releases
from redshank.registry import Canary, Registry
from tests.monitoring.field import START, Site, Station, write_spool, write_test_bundle

BY = {"actor": "test", "reason": "test"}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for name in ("b1", "b2", "b3"):
        write_test_bundle(tmp_path / "bundles", name)
    return Registry(tmp_path / "models", tmp_path / "bundles")


def test_live_and_canary_answer_and_a_shadow_is_only_named(registry: Registry) -> None:
    releases = Releases(registry)
    assert releases.answering("default") is None
    assert releases.named("default") is None
    registry.publish("b1", at_s=1.0, **BY)
    registry.set_shadow("default", "b2", at_s=2.0, **BY)
    assert releases.answering("default") == frozenset({"b1"})
    assert releases.named("default") == frozenset({"b1", "b2"})
    registry.set_canary("default", Canary("b3", (), 0.1), at_s=3.0, **BY)
    assert releases.answering("default") == frozenset({"b1", "b3"})
    assert releases.problems() == ()


def test_of_a_damaged_release_what_it_said_last_counts(registry: Registry) -> None:
    registry.publish("b1", at_s=1.0, **BY)
    releases, late = Releases(registry), Releases(registry)
    assert releases.answering("default") == frozenset({"b1"})
    path = registry.release_path("default")
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert releases.answering("default") == releases.named("default") == frozenset({"b1"})
    (problem,) = releases.problems()
    assert problem.startswith("the release of default cannot be read, what it said last counts: ")
    assert str(path) in problem
    assert late.answering("default") is None  # nothing is known: no version is left out
    assert "every version counts" in late.problems()[0]
    path.write_bytes(whole)
    assert releases.answering("default") == late.answering("default") == frozenset({"b1"})
    assert releases.problems() == late.problems() == ()
    path.unlink()
    assert releases.answering("default") is None


def test_the_evaluator_says_so_and_goes_on(registry: Registry, tmp_path: Path) -> None:
    registry.publish("b1", at_s=1.0, **BY)
    write_spool(tmp_path / "spool", [Site("home")], 6)
    station, releases = Station(tmp_path), Releases(registry)
    evaluator = station.evaluator()
    evaluator.around = dataclasses.replace(
        evaluator.around, answering=releases.answering, unread_releases=releases.problems
    )
    station.now_s = START + 3
    assert evaluator.pass_once().problems == ()
    registry.release_path("default").write_text("{")
    station.now_s = START + 6
    done = evaluator.pass_once()
    assert (done.ticks, len(done.problems)) == (3, 1)
    assert "what it said last counts" in done.problems[0]
