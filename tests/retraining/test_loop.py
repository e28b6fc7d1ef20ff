from __future__ import annotations

import dataclasses

import pytest

from redshank.dataset import read_manifest
from redshank.files import parse_rfc3339
from redshank.healing import Healing
from redshank.run import MANIFEST_FILE, read_run
from redshank.settings import GateSettings
from redshank.store.control import ControlStore
from retraining.loop import run_loop, run_trigger
from retraining.workplace import Workplace
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


def test_images_that_the_champion_has_seen_still_count_in_the_gates(
    world: World, store: ControlStore
) -> None:
    place = world.place(store, world.rules())
    for _ in range(2):
        trigger_id = add_trigger(world, store, kind="manual")
        once(place)
        world.clock.ahead_s += 2
        healing = store.healing(trigger_id)
        assert healing.state == "live"
        (gate,) = [gate for gate in healing.gates if gate.domain == "pier"]
        assert (gate.name, gate.n) == ("class_entropy", FIELD_IMAGES)


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


def test_auto_asks_a_person_when_the_alarm_was_refuted_meanwhile(
    world: World, store: ControlStore
) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules())
    trigger, said = store.trigger(trigger_id), []

    def say(line: str) -> None:
        said.append(line)
        if "-> training" in line:
            store.withdraw(trigger, reason="labels refute it: 118 of 120 right")

    once(dataclasses.replace(place, say=say))
    healing = store.healing(trigger_id)
    assert healing.state == "proposed", said
    assert healing.reason == (
        "passed every gate, but a person decides: labels refute it: 118 of 120 right"
    )
    assert all(gate.verdict == "pass" for gate in healing.gates)
    assert world.registry.read("default").revision == 1


def test_a_refuted_alarm_that_waits_is_not_trained_for(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    store.withdraw(store.trigger(trigger_id), reason="labels refute it")
    once(world.place(store, world.rules()))
    assert store.healing(trigger_id).state == "vetoed"
    assert world.count("train start") == 0


def test_a_healing_waits_for_images(world: World, store: ControlStore) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(min_images=FIELD_IMAGES + 20))
    once(place)
    healing = store.healing(trigger_id)
    onset = store.trigger(trigger_id).onset_at
    assert healing.state == "pending"
    assert healing.reason == f"60 of 80 field images since {onset} (pier)"
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


def test_a_schedule_fires_once_a_slot_and_not_for_the_past(
    world: World, store: ControlStore
) -> None:
    world.clock.ahead_s = 900 - world.clock() % 600  # in the middle between two slots
    place = world.place(store, world.rules(schedule="*/10 * * * *", mode="off"))
    once(place)
    assert store.triggers() == ()  # the slot before the first look is not made up
    once(place)
    world.clock.ahead_s += 600
    once(place)
    once(place)
    (trigger,) = store.triggers()
    assert (trigger.kind, trigger.domains, trigger.actor) == ("schedule", (), "schedule")
    assert parse_rfc3339(trigger.created_at) % 600 == 0
    assert store.healing(trigger.trigger_id).state == "vetoed"
    world.clock.ahead_s += 5 * 600
    once(place)
    assert len(store.triggers()) == 2  # five missed slots are one reason


def test_a_schedule_outlives_a_clock_that_was_wrong(world: World, store: ControlStore) -> None:
    year_s = 365 * 86400.0
    place = world.place(store, world.rules(schedule="*/10 * * * *", mode="off"))
    world.clock.ahead_s = year_s
    once(place)  # remembers a time that is far ahead
    world.clock.ahead_s = 900 - world.clock() % 600
    once(place)
    world.clock.ahead_s += 600
    once(place)
    once(place)
    assert len(store.triggers()) == 1
