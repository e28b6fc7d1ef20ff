from __future__ import annotations

import os
from pathlib import Path

import pytest

from redshank.dataset import read_manifest
from redshank.events import Event, EventWriter, Role, spool_files
from redshank.registry import Canary, Registry, Release
from redshank.run import read_run
from redshank.settings import GateSettings
from redshank.store.control import ControlStore
from retraining.loop import run_loop
from retraining.promote import CanaryCount, count_canary, end_canary, live_since, rolled_back
from retraining.snapshot import field_items
from retraining.workplace import Workplace
from tests.examples import make_event
from tests.retraining.tiny_model import write_tiny_bundle
from tests.retraining.tiny_world import FIELD_IMAGES, World, add_trigger, capture


def once(place: Workplace) -> None:
    assert run_loop(place, holder="loop", once=True, stop=lambda: False)


def an_event(world: World, number: int, bundle: str, role: Role, outcome: str) -> Event:
    return make_event(
        event_id=f"e{number}",
        received_at=world.clock(),
        domain="pier",
        version=bundle,
        role=role,
        outcome=outcome,
    )


def write_events(world: World, bundle: str, outcomes: dict[str, int], role: Role) -> None:
    with EventWriter(world.home / "spool", f"w{role}") as writer:
        for outcome, count in outcomes.items():
            writer.append(an_event(world, n, bundle, role, outcome) for n in range(count))


def in_canary(world: World, store: ControlStore) -> tuple[Workplace, str]:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(canary_s=100.0))
    once(place)
    return place, trigger_id


def test_a_good_canary_goes_live_when_its_time_is_over(world: World, store: ControlStore) -> None:
    champion = world.registry.read("default").live
    place, trigger_id = in_canary(world, store)
    healing = store.healing(trigger_id)
    release = world.registry.read("default")
    assert healing.state == "canary"
    assert release.live == champion
    assert release.canary == Canary(healing.challenger or "", ("pier",), 1.0)

    other = add_trigger(world, store, kind="manual", domains=("quay",))
    world.clock.ahead_s += 50
    once(place)
    assert store.healing(trigger_id).state == "canary"
    assert store.healing(other).reason == "waits for the loop", "one at a time"

    write_events(world, healing.challenger or "", {"ok": 500, "invalid_image": 90}, "canary")
    write_events(world, champion, {"internal": 400}, "live")
    world.clock.ahead_s += 51
    once(place)
    healing = store.healing(trigger_id)
    assert healing.state == "live"
    assert "500 answers and 0 failures" in healing.reason
    release = world.registry.read("default")
    assert (release.live, release.previous, release.canary) == (healing.challenger, champion, None)
    assert "0 of 60 field images" in store.healing(other).reason, "now it was looked at"


def test_a_failing_canary_is_rolled_back(world: World, store: ControlStore) -> None:
    place, trigger_id = in_canary(world, store)
    challenger = store.healing(trigger_id).challenger or ""
    write_events(world, challenger, {"ok": 90, "internal": 10}, "canary")
    world.clock.ahead_s += 101
    once(place)
    assert store.healing(trigger_id).state == "rolled_back"
    release = world.registry.read("default")
    assert release.canary is None
    assert release.live != challenger


def test_a_canary_that_hardly_anybody_asked_never_goes_live(
    world: World, store: ControlStore
) -> None:
    champion = world.registry.read("default").live
    place, trigger_id = in_canary(world, store)
    challenger = store.healing(trigger_id).challenger or ""
    write_events(world, challenger, {"ok": 99}, "canary")
    world.clock.ahead_s += 150  # its time is over, its answers are too few
    once(place)
    waiting = store.healing(trigger_id)
    assert waiting.state == "canary"
    assert "99 answers and 0 failures" in waiting.reason
    assert "too few to judge: 100 are needed" in waiting.reason
    assert world.registry.read("default").live == champion
    world.clock.ahead_s += 900
    once(place)
    ended = store.healing(trigger_id)
    assert (ended.state, "too few to judge" in ended.reason) == ("rolled_back", True)
    release = world.registry.read("default")
    assert (release.live, release.canary) == (champion, None)


def test_a_canary_goes_live_as_soon_as_it_has_its_answers(
    world: World, store: ControlStore
) -> None:
    place, trigger_id = in_canary(world, store)
    challenger = store.healing(trigger_id).challenger or ""
    world.clock.ahead_s += 150
    once(place)
    assert store.healing(trigger_id).state == "canary"
    write_events(world, challenger, {"ok": 100}, "canary")
    once(place)
    assert store.healing(trigger_id).state == "live"
    assert world.registry.read("default").live == challenger


def test_a_canary_that_a_person_ended_is_rolled_back(world: World, store: ControlStore) -> None:
    place, trigger_id = in_canary(world, store)
    world.registry.set_canary("default", None, actor="ann", reason="", at_s=world.clock())
    once(place)
    assert store.healing(trigger_id).state == "rolled_back"


def test_a_crash_between_canary_and_transition_is_repeated(
    world: World, store: ControlStore
) -> None:
    """The release has the canary already, the healing is still in `shadow`."""
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(mode="propose", canary_s=100.0))
    once(place)
    healing = store.healing(trigger_id)
    canary = Canary(healing.challenger or "", ("pier",), 1.0)
    world.registry.set_canary("default", canary, actor="loop", reason="", at_s=world.clock())
    revision = world.registry.read("default").revision
    store.transition(healing, "shadow", reason="approved", actor="ann", lease=None)
    once(place)
    assert store.healing(trigger_id).state == "canary"
    assert world.registry.read("default").revision == revision


def test_a_rollback_by_hand_reaches_the_healing(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules())
    once(place)
    assert store.healing(trigger_id).state == "live"
    world.registry.rollback("default", actor="ann", reason="worse", at_s=world.clock())
    again = add_trigger(world, store)
    once(place)
    assert store.healing(trigger_id).state == "rolled_back"
    assert "cool-down" in store.healing(again).reason
    assert store.verify_audit() == len(store.audit())


def test_a_rollback_between_publishing_and_transition_is_not_undone(
    world: World, store: ControlStore
) -> None:
    """The loop died after it had published; a person went back before the next one began."""
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(mode="propose"))
    once(place)
    healing = store.healing(trigger_id)
    champion = world.registry.read("default").live
    world.registry.publish(healing.challenger or "", actor="loop", reason="", at_s=world.clock())
    world.registry.rollback("default", actor="ann", reason="worse", at_s=world.clock())
    store.transition(healing, "shadow", reason="approved", actor="ann", lease=None)
    once(place)
    assert store.healing(trigger_id).state == "rejected"
    assert world.registry.read("default").live == champion


def test_a_model_that_was_removed_does_not_stop_the_loop(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules())
    once(place)
    world.registry.release_path("default").unlink()
    once(place)
    assert store.healing(trigger_id).state == "live"


def test_the_history_is_read_when_the_release_changed(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trigger(world, store)
    place = world.place(store, world.rules())
    once(place)
    once(place)
    read: list[str] = []
    history = Registry.history

    def counted(registry: Registry, model: str) -> tuple[Release, ...]:
        read.append(model)
        return history(registry, model)

    monkeypatch.setattr(Registry, "history", counted)
    once(place)
    assert read == []
    run = read_run(next(path.parent for path in (world.home / "runs").glob("*/run.json")))
    by_hand = write_tiny_bundle(world.home / "bundles", world.models / "good", run=run)
    world.registry.publish(by_hand.name, actor="ann", reason="", at_s=world.clock())
    once(place)
    assert read == ["default"]


def test_a_release_by_hand_during_the_canary_supersedes(world: World, store: ControlStore) -> None:
    place, trigger_id = in_canary(world, store)
    run = read_run(next(path.parent for path in (world.home / "runs").glob("*/run.json")))
    by_hand = write_tiny_bundle(world.home / "bundles", world.models / "good", run=run)
    world.registry.publish(by_hand.name, actor="ann", reason="", at_s=world.clock())
    once(place)
    assert store.healing(trigger_id).state == "superseded"
    assert world.registry.read("default").live == by_hand.name


def test_a_bundle_that_was_followed_by_another_is_not_rolled_back(
    world: World, store: ControlStore
) -> None:
    first = add_trigger(world, store)
    place = world.place(store, world.rules(cooldown_s=0.0))
    once(place)
    world.clock.ahead_s += 5
    capture(world, "pier", FIELD_IMAGES, seed=9)
    second = add_trigger(world, store)
    once(place)
    once(place)
    assert [store.healing(t).state for t in (first, second)] == ["live", "live"]
    assert rolled_back(world.registry.history("default")) == frozenset()


def test_live_since_ignores_canaries(world: World) -> None:
    registry = world.registry
    since = live_since(registry, "default")
    bundle = registry.read("default").live
    registry.set_canary("default", Canary(bundle, (), 0.5), actor="a", reason="", at_s=2e9)
    assert registry.read("default").updated_at > since
    assert live_since(registry, "default") == since
    assert end_canary(registry, "default", bundle, actor="a", at_s=2e9)
    assert not end_canary(registry, "default", bundle, actor="a", at_s=2e9)


def test_counts_only_the_canarys_own_failures(world: World) -> None:
    write_events(world, "b-1", {"ok": 5, "internal": 1, "invalid_image": 7}, "canary")
    write_events(world, "b-1", {"ok": 100, "internal": 100}, "shadow")
    count = count_canary(world.home / "spool", "b-1", since_s=world.clock() - 60)
    assert count == CanaryCount(5, 1)
    assert count_canary(world.home / "spool", "b-1", since_s=world.clock() + 60).answered == 0
    assert count.is_bad
    assert not CanaryCount(99, 1).is_bad
    assert not CanaryCount(0, 0).is_bad


def test_answers_that_lie_in_the_write_ahead_log_only_are_counted(world: World) -> None:
    """A spool from before the canary: its own file keeps its old time until a checkpoint."""
    spool = world.home / "spool"
    with EventWriter(spool, "w") as writer:
        writer.append([an_event(world, 1, "b-0", "live", "ok")])
        (file,) = spool_files(spool)
        os.utime(file, (1.0, 1.0))
        writer.append([an_event(world, 2, "b-1", "canary", "internal")])
        assert file.stat().st_mtime == 1.0
        assert count_canary(spool, "b-1", since_s=world.clock() - 60) == CanaryCount(0, 1)


def test_labels_from_the_field_enter_the_gates(world: World, store: ControlStore) -> None:
    labels = [(image.sha256, "red") for image in world.field_store.images("pier")]
    store.import_labels(labels, actor="ann", subject="x", source="labels.csv")
    trigger_id = add_trigger(world, store)
    gates = GateSettings(accuracy_margin=0.05, nuclear_norm_drop=0.01)
    once(world.place(store, world.rules(mode="propose", gates=gates)))
    healing = store.healing(trigger_id)
    names = [gate.name for gate in healing.gates if gate.domain == "pier"]
    assert names == ["class_entropy", "nuclear_norm", "field_labels"]
    assert next(g for g in healing.gates if g.name == "field_labels").n == FIELD_IMAGES
    snapshot = field_items(read_manifest(Path(healing.snapshot or "")))
    judges = [item for item in snapshot if item.split == "test"]
    assert len(judges) == FIELD_IMAGES // 3
    assert {(item.label, item.hidden_label) for item in judges} == {("", "red")}
