from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from redshank.dataset import read_manifest
from redshank.healing import ENDS, Healing, State
from redshank.run import MANIFEST_FILE, read_run
from redshank.settings import GateSettings
from redshank.store.control import ControlStore
from redshank.store.control_lease import Lease
from retraining.loop import run_loop, run_trigger
from retraining.workplace import Workplace
from tests.retraining.tiny_model import write_tiny_bundle
from tests.retraining.tiny_world import FIELD_IMAGES, World, add_trigger, capture, set_environment


def once(place: Workplace, holder: str = "loop") -> bool:
    return run_loop(place, holder=holder, once=True, stop=lambda: False)


def walked(store: ControlStore, healing: Healing) -> list[str]:
    return [row.action for row in store.audit() if row.subject == healing.healing_id]


def test_an_alarm_becomes_a_live_bundle(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    champion = world.registry.read("default").live
    place = world.place(store, world.rules())
    assert once(place)

    healing = store.healing(trigger_id)
    assert healing.state == "live", healing.reason
    release = world.registry.read("default")
    assert (release.live, release.previous) == (healing.challenger, champion)
    assert (release.revision, release.actor) == (2, "retraining loop")
    steps = ["snapshot", "training", "export", "gates", "shadow", "live"]
    assert walked(store, healing) == steps
    assert store.verify_audit() == 1 + len(steps)

    run = read_run(place.runs / (healing.run or ""))
    manifest = read_manifest(place.runs / run.run_id / MANIFEST_FILE)
    assert manifest.source_domains == ("paper", "screen")
    assert manifest.target_domains == ("pier",)
    assert sum(item.domain == "pier" for item in manifest.items) == FIELD_IMAGES
    assert all(manifest.image_path(item).is_file() for item in manifest.items)
    names = {(gate.name, gate.domain) for gate in healing.gates}
    assert names == {
        ("golden", ""),
        ("source_validation", "paper"),
        ("source_validation", "screen"),
        ("agreement", "paper"),
        ("agreement", "screen"),
        ("class_entropy", "pier"),
    }
    assert all(gate.verdict == "pass" for gate in healing.gates)

    assert once(place)  # nothing is left to do
    assert (world.count("train start"), world.registry.read("default").revision) == (1, 2)


def test_a_second_healing_starts_from_the_first(world: World, store: ControlStore) -> None:
    add_trigger(world, store)
    place = world.place(store, world.rules(cooldown_s=0.0))
    once(place)
    first = store.healings("live")[0]
    world.clock.ahead_s += 10
    capture(world, "quay", FIELD_IMAGES, seed=2)
    trigger_id = add_trigger(world, store, domains=("quay",))
    victim = world.field_store.images("pier")[0].sha256
    world.field_store.delete(victim)
    once(place)

    second = store.healing(trigger_id)
    assert second.state == "live", second.reason
    assert second.champion == first.challenger
    assert read_run(place.runs / (second.run or "")).parent == first.run
    manifest = read_manifest(place.runs / (second.run or "") / MANIFEST_FILE)
    assert manifest.target_domains == ("pier", "quay")
    digests = [item.sha256 for item in manifest.items if item.domain == "pier"]
    assert len(digests) == FIELD_IMAGES - 1
    assert victim not in digests


@pytest.mark.parametrize(
    ("model", "refused_by"),
    [("collapsed", "class_entropy[pier]"), ("worse", "source_validation[paper]")],
)
def test_a_harmful_challenger_is_refused(
    world: World,
    store: ControlStore,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    refused_by: str,
) -> None:
    set_environment(monkeypatch.setenv, world.environment(model))
    trigger_id = add_trigger(world, store)
    before = world.registry.read("default")
    place = world.place(store, world.rules())
    once(place)
    healing = store.healing(trigger_id)
    assert healing.state == "rejected"
    assert refused_by in healing.reason
    assert world.registry.read("default") == before

    world.clock.ahead_s += 1500  # a refusal doubles the cool-down of 1000 s
    again = add_trigger(world, store)
    once(place)
    assert store.healing(again).state == "pending"
    assert "cool-down" in store.healing(again).reason
    world.clock.ahead_s += 600
    capture(world, "pier", FIELD_IMAGES, seed=3)
    set_environment(monkeypatch.setenv, world.environment("good"))
    once(place)
    assert store.healing(again).state == "live"


def test_too_few_labels_turn_auto_into_a_proposal(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(gates=GateSettings(accuracy_margin=0.01)))
    once(place)
    healing = store.healing(trigger_id)
    assert healing.state == "proposed"
    assert "source_validation[paper]" in healing.reason
    assert "cannot tell" in healing.reason
    assert world.registry.read("default").revision == 1
    store.transition(healing, "shadow", reason="approved", actor="ann", lease=None)
    once(place)
    assert store.healing(trigger_id).state == "live"


def test_propose_waits_for_a_person(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(mode="propose"))
    once(place)
    once(place)
    assert store.healing(trigger_id).state == "proposed"
    assert (world.registry.read("default").revision, world.count("train start")) == (1, 1)


def test_a_healing_waits_for_images(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(min_images=FIELD_IMAGES + 20))
    once(place)
    healing = store.healing(trigger_id)
    assert (healing.state, healing.reason) == ("pending", "60 of 80 field images captured (pier)")
    assert len(store.audit()) == 1
    capture(world, "pier", 20, seed=4)
    once(place)
    assert store.healing(trigger_id).state == "live"


@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_failing_stage_ends_the_healing_with_its_last_line(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    set_environment(monkeypatch.setenv, world.environment(fail=verb))
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules()))
    healing = store.healing(trigger_id)
    assert healing.state == "failed"
    assert "the tiny stage was told to fail" in healing.reason
    assert world.registry.read("default").revision == 1


def test_a_stage_that_takes_too_long_fails(
    world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch.setenv, world.environment(steps=10_000))
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules(timeout_s=0.5)))
    assert store.healing(trigger_id).state == "failed"
    assert "longer than" in store.healing(trigger_id).reason


def test_off_vetoes_alarms(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules(mode="off")))
    assert store.healing(trigger_id).state == "vetoed"
    assert world.log == []


def test_a_lens_cap_is_no_reason_to_train(world: World, store: ControlStore) -> None:
    for image in world.field_store.images("pier")[:40]:
        image.path.write_bytes(image.path.read_bytes()[:60].ljust(image.size_bytes, b"\0"))
    trigger_id = add_trigger(world, store)
    once(world.place(store, world.rules()))
    healing = store.healing(trigger_id)
    assert healing.state == "vetoed"
    assert "camera" in healing.reason


def test_only_one_loop_works(world: World, store: ControlStore) -> None:
    add_trigger(world, store)
    other = store.acquire("other", ttl_s=1000)
    assert other is not None
    assert not once(world.place(store, world.rules()))
    assert (
        run_trigger(
            world.place(store, world.rules()),
            store.triggers()[0].trigger_id,
            holder="l",
            stop=lambda: False,
        )
        is None
    )
    store.release(other)
    assert once(world.place(store, world.rules()))
    assert store.healings()[0].state == "live"


def test_one_trigger_as_an_idempotent_step(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules())
    for _ in range(2):
        healing = run_trigger(place, trigger_id, holder="job", stop=lambda: False)
        assert healing is not None
        assert healing.state == "live"
    assert (world.count("train start"), world.registry.read("default").revision) == (1, 2)


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


def test_every_healing_ends_or_waits_for_a_reason(world: World, store: ControlStore) -> None:
    for domains in (("pier",), ("nowhere",), ()):
        add_trigger(world, store, domains=domains)
        world.clock.ahead_s += 1
    once(world.place(store, world.rules()))
    for healing in store.healings():
        assert healing.state in ENDS | {"pending"}
        assert healing.reason
