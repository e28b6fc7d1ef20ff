from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.retraining_series import RetrainingSeries
from redshank.errors import ConflictError
from redshank.registry import Registry
from redshank.store.control import ControlStore, open_control
from redshank.trigger import make_trigger
from tests.monitoring.console.scene import propose, publish
from tests.monitoring.field import write_test_bundle


@pytest.fixture
def control(tmp_path: Path) -> ControlStore:
    return open_control(f"sqlite:///{tmp_path}/control.db", clock=lambda: 1000.0)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", tmp_path / "bundles")


def trigger(control: ControlStore, domain: str) -> None:
    control.add_trigger(
        make_trigger(
            kind="manual", model="default", domains=[domain], onset_at_s=None, created_at_s=1.0,
            actor="ann", evidence={},
        )
    )  # fmt: skip


def samples(series: RetrainingSeries) -> dict[tuple[str, ...], float]:
    return {
        (s.name.removeprefix("redshank_"), *s.labels.values()): s.value
        for family in series.families()
        for s in family.samples
    }


def test_outcomes_are_counted_along_the_trail_and_never_fall(
    control: ControlStore, registry: Registry
) -> None:
    series = RetrainingSeries(control, registry)
    assert samples(series) == {}
    trigger(control, "pier")
    runs = ("retrain_runs_total", "default", "manual")
    found = samples(series)
    assert found[*runs, "live"] == found[*runs, "failed"] == 0
    assert found["retrain_running", "default"] == 0
    healing = propose(control)
    found = samples(series)
    assert found["retrain_proposals", "default"] == 1
    assert found["retrain_since_timestamp_seconds", "default", "proposed"] == 1000.0
    assert found["retrain_gate_value", "default", "accuracy", "ink", "pass"] == 0.01
    assert found["retrain_gate_threshold", "default", "class_entropy", "", "cannot_tell"] == 0.02
    for state in ("shadow", "live", "rolled_back"):
        healing = control.transition(healing, state, reason="", actor="ann", lease=None)
    found = samples(series)
    assert found[*runs, "live"] == found[*runs, "rolled_back"] == 1
    assert found["retrain_proposals", "default"] == 0
    assert found["retrain_last_success_timestamp_seconds", "default"] == 1000.0
    assert samples(series) == found  # nothing is counted twice
    assert samples(RetrainingSeries(control, registry)) == found  # nor lost by a restart


def test_a_healing_under_way_is_running(control: ControlStore, registry: Registry) -> None:
    trigger(control, "pier")
    (healing,) = control.healings()
    control.transition(healing, "snapshot", reason="", actor="loop", lease=None)
    assert samples(RetrainingSeries(control, registry))["retrain_running", "default"] == 1


def test_a_released_model_has_series_before_its_first_healing(
    control: ControlStore, registry: Registry
) -> None:
    for bundle in ("b0", "b1"):
        write_test_bundle(registry.bundles, bundle)
    publish(registry)
    found = samples(RetrainingSeries(control, registry))
    assert found["release_info", "default", "b1"] == 1
    assert found["release_timestamp_seconds", "default"] == 1_000_001.0
    assert found["retrain_runs_total", "default", "alarm", "live"] == 0


def test_a_locked_database_leaves_the_series_as_they_were(
    control: ControlStore, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger(control, "pier")
    series = RetrainingSeries(control, registry)
    before = samples(series)

    def locked(**_: object) -> None:
        raise ConflictError("the database is locked")

    monkeypatch.setattr(control, "audit", locked)
    assert samples(series) == before != {}
