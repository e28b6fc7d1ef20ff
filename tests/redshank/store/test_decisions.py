from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import ConflictError, InputError
from redshank.healing import Healing, State
from redshank.registry import Registry
from redshank.store.control import ControlStore, open_control
from redshank.store.decisions import approve, choices, reject, roll_back
from redshank.trigger import make_trigger
from tests.monitoring.field import write_test_bundle

WAY: tuple[State, ...] = ("snapshot", "training", "export", "gates", "proposed", "shadow", "live")


@pytest.fixture
def store(tmp_path: Path) -> ControlStore:
    return open_control(f"sqlite:///{tmp_path}/control.db", clock=lambda: 100.0)


def healing_in(store: ControlStore, state: State, *, challenger: str = "b-2") -> Healing:
    store.add_trigger(
        make_trigger(
            kind="manual", model="default", domains=["pier"], onset_at_s=None, created_at_s=1.0,
            actor="ann", evidence={},
        )
    )  # fmt: skip
    healing = store.healings()[-1]
    for step in WAY[: WAY.index(state) + 1] if state != "pending" else ():
        healing = store.transition(
            healing, step, reason="", actor="loop", lease=None, challenger=challenger
        )
    return healing


def test_a_proposal_is_approved_with_its_actor_in_the_trail(store: ControlStore) -> None:
    healing = healing_in(store, "proposed")
    moved = approve(store, healing.trigger_id, actor="ann", reason="looked at it")
    assert (moved.state, moved.reason) == ("shadow", "approved by ann: looked at it")
    last = store.audit()[-1]
    assert (last.actor, last.action, last.subject) == ("ann", "shadow", healing.healing_id)
    with pytest.raises(ConflictError, match="not 'proposed'"):
        approve(store, healing.healing_id, actor="bob")


@pytest.mark.parametrize(
    ("state", "end"), [("pending", "vetoed"), ("proposed", "rejected"), ("shadow", "rejected")]
)
def test_what_waits_is_rejected(store: ControlStore, state: State, end: State) -> None:
    healing = healing_in(store, state)
    assert "reject" in choices(healing)
    assert reject(store, healing.healing_id, actor="ann").state == end


@pytest.mark.parametrize("state", ["training", "live"])
def test_what_works_or_ended_is_nobodys_choice(store: ControlStore, state: State) -> None:
    healing = healing_in(store, state)
    assert choices(healing) == ()
    with pytest.raises(ConflictError):
        reject(store, healing.healing_id, actor="ann")


def test_an_unknown_healing_is_named(store: ControlStore) -> None:
    with pytest.raises(InputError, match="no healing 'h-9'"):
        approve(store, "h-9", actor="ann")


@pytest.mark.parametrize("published_by_healing", [True, False])
def test_roll_back_moves_release_healing_and_trail(
    store: ControlStore, tmp_path: Path, published_by_healing: bool
) -> None:
    registry = Registry(tmp_path / "models", tmp_path / "bundles")
    first, second = "b1", "b2"
    for bundle in (first, second):
        write_test_bundle(registry.bundles, bundle)
        registry.publish(bundle, actor="ann", reason="", at_s=1.0)
    model = registry.names()[0]
    if published_by_healing:
        healing_in(store, "live", challenger=second)
    release = roll_back(store, registry, model, actor="bob", reason="wrong", at_s=5.0)
    assert (release.live, release.previous, release.actor) == (first, second, "bob")
    last = store.audit()[-1]
    assert (last.actor, last.action) == ("bob", "rolled_back")
    if published_by_healing:
        assert store.healings()[-1].state == "rolled_back"
    else:
        assert (last.subject, last.details["to"]) == (model, first)
    store.verify_audit()
