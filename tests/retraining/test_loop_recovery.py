"""Crashes, lost leases and releases by hand in the middle of a healing."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from redshank.errors import DatabaseError
from redshank.healing import ENDS, Healing, State
from redshank.run import read_run
from redshank.store.control import ControlStore
from redshank.store.control_lease import Lease
from retraining.launcher import StageEnd, run_stage
from retraining.loop import run_loop
from retraining.workplace import Workplace
from tests.retraining.tiny_model import write_tiny_bundle
from tests.retraining.tiny_world import World, add_trigger, set_environment


def once(place: Workplace, holder: str = "loop") -> bool:
    return run_loop(place, holder=holder, once=True, stop=lambda: False)


class PowerCutError(Exception):
    """Not a RedshankError: nothing in the loop may catch it."""


@pytest.mark.parametrize("lost", ["snapshot", "training", "export", "gates", "shadow", "live"])
def test_a_crash_before_any_transition_repeats_no_finished_stage(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch, lost: State
) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules())
    real: Callable[..., Healing] = store.transition

    def cut(healing: Healing, new: State, **named: Any) -> Healing:
        if new == lost:
            raise PowerCutError
        return real(healing, new, **named)

    monkeypatch.setattr(store, "transition", cut)
    with pytest.raises(PowerCutError):
        once(place, "first")
    monkeypatch.setattr(store, "transition", real)
    assert not once(place, "second"), "the dead loop's lease still counts"
    world.clock.ahead_s += 31
    assert once(place, "second")

    healing = store.healing(trigger_id)
    assert healing.state == "live", healing.reason
    assert healing.attempt == (1 if lost == "snapshot" else 2)
    assert (world.count("train end"), world.count("export end")) == (1, 1)
    assert world.registry.read("default").revision == 2
    assert len(list(place.snapshots.iterdir())) == 1
    assert store.verify_audit() == len(store.audit())


def test_a_healing_whose_loop_always_dies_is_given_up(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(max_attempts=2))

    def cut(*_arguments: object, **_named: object) -> None:
        raise PowerCutError

    monkeypatch.setattr("retraining.steps.run_stage", cut)
    for _ in range(2):
        with pytest.raises(PowerCutError):
            once(place)
        world.clock.ahead_s += 31
    once(place)
    healing = store.healing(trigger_id)
    assert (healing.state, healing.attempt) == ("failed", 3)
    assert "died 2 times" in healing.reason


@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_stage_that_was_killed_goes_on(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    set_environment(monkeypatch.setenv, world.environment(steps=8))
    monkeypatch.setenv("TINY_DIE", verb)  # as the kernel ends a process for want of memory
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules()))
    healing = store.healing(trigger_id)
    assert (healing.state, healing.attempt) == ("live", 2), healing.reason
    assert world.count(f"{verb} start") == 2
    assert (world.count("train end"), world.count("export end")) == (1, 1)
    assert [line for line in world.log if line.startswith("step")] == [
        f"step {step}" for step in range(8)
    ]
    assert [row.action for row in store.audit()].count("resumed") == 1
    assert store.verify_audit() == len(store.audit())


@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_stage_that_was_killed_when_it_had_published_is_not_run_again(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    set_environment(monkeypatch.setenv, world.environment(steps=1))
    monkeypatch.setenv("TINY_DIE", f"{verb} published")
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules(max_attempts=1)))
    healing = store.healing(trigger_id)
    assert (healing.state, healing.attempt) == ("live", 1), healing.reason
    assert (world.count("train start"), world.count("export start")) == (1, 1)


def test_a_stage_that_hangs_when_it_has_published_is_done(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch.setenv, world.environment(steps=1))

    def hangs_at_its_end(command: tuple[str, ...], **named: Any) -> StageEnd:
        end = run_stage(command, **named)
        return dataclasses.replace(end, status="timeout", code=-15)

    monkeypatch.setattr("retraining.steps.run_stage", hangs_at_its_end)
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules()))
    assert store.healing(trigger_id).state == "live"


def test_a_stage_that_is_killed_again_and_again_is_given_up(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = StageEnd("failed", -9, "")
    monkeypatch.setattr("retraining.steps.run_stage", lambda *_arguments, **_named: killed)
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules(max_attempts=3)))
    healing = store.healing(trigger_id)
    assert (healing.state, healing.attempt) == ("failed", 4)
    assert "killed by signal 9" in healing.reason


def test_a_release_by_hand_supersedes_what_was_compared_with_the_old_one(
    world: World, store: ControlStore
) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(mode="propose"))
    once(place)
    healing = store.healing(trigger_id)
    run = read_run(place.runs / (healing.run or ""))
    by_hand = write_tiny_bundle(world.home / "bundles", world.models / "good", run=run)
    world.registry.publish(by_hand.name, actor="ann", reason="", at_s=world.clock())
    store.transition(healing, "shadow", reason="approved", actor="ann", lease=None)
    once(place)
    assert store.healing(trigger_id).state == "superseded"
    assert world.registry.read("default").live == by_hand.name


def test_an_alarm_older_than_the_release_is_superseded(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    world.clock.ahead_s += 5
    run = read_run(next(path.parent for path in (world.home / "runs").glob("*/run.json")))
    newer = write_tiny_bundle(world.home / "bundles", world.models / "good", run=run)
    world.registry.publish(newer.name, actor="ann", reason="", at_s=world.clock())
    once(world.place(store, world.rules()))
    assert store.healing(trigger_id).state == "superseded"


def test_of_two_alarms_about_one_site_the_newer_stays(world: World, store: ControlStore) -> None:
    older = add_trigger(world, store)
    world.clock.ahead_s += 2
    newer = add_trigger(world, store)
    once(world.place(store, world.rules()))
    assert store.healing(older).state == "superseded"
    assert newer in store.healing(older).reason
    assert store.healing(newer).state == "live"


def test_a_stolen_lease_stops_the_stage_and_writes_nothing(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch.setenv, world.environment(steps=1000))
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(lease_s=0.6))
    stolen: list[Lease] = []

    def steal() -> bool:
        if world.count("step") and not stolen:
            world.clock.ahead_s += 10
            if (lease := store.acquire("thief", ttl_s=1000)) is not None:
                stolen.append(lease)
        return False

    run_loop(place, holder="loop", once=True, stop=steal)
    assert stolen
    assert store.healing(trigger_id).state == "training"
    assert world.count("train end") == 0
    store.check(stolen[0])  # the loop took nothing back


def test_a_full_disk_is_tried_again_and_ends_no_loop(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(max_attempts=2, lease_s=0.9))

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "snapshots/x")

    with monkeypatch.context() as patch:
        patch.setattr("retraining.steps.write_snapshot", full)
        once(place)
        healing = store.healing(trigger_id)
        assert (healing.state, healing.attempt) == ("snapshot", 2)
        assert healing.reason == "tries again after snapshots/x: No space left on device"
    once(place)
    assert store.healing(trigger_id).state == "live"


def test_a_database_that_blinks_fails_no_healing(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes in the middle of a step; the next question is answered again."""
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules())

    labels = store.labels

    def closed(digests: Iterable[str]) -> dict[str, str]:
        if store.healing(trigger_id).state == "gates":
            raise DatabaseError("database: server closed the connection unexpectedly")
        return labels(digests)

    with monkeypatch.context() as patch:
        patch.setattr(store, "labels", closed)
        with pytest.raises(DatabaseError):
            once(place)
    assert store.healing(trigger_id).state == "gates"
    world.clock.ahead_s += 31
    once(place)
    assert store.healing(trigger_id).state == "live"
    assert world.count("train end") == 1


def test_a_disk_that_stays_full_ends_the_healing(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger_id = add_trigger(world, store)

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "snapshots/x")

    monkeypatch.setattr("retraining.steps.write_snapshot", full)
    for _ in range(3):
        once(world.place(store, world.rules(max_attempts=3, lease_s=0.9)))
    healing = store.healing(trigger_id)
    assert (healing.state, healing.attempt) == ("failed", 3)
    assert "No space left" in healing.reason


def test_every_healing_ends_or_waits_for_a_reason(world: World, store: ControlStore) -> None:
    for domains in (("pier",), ("nowhere",), ()):
        add_trigger(world, store, domains=domains)
        world.clock.ahead_s += 1
    once(world.place(store, world.rules()))
    for healing in store.healings():
        assert healing.state in ENDS | {"pending"}
        assert healing.reason
