from __future__ import annotations

import json

import pytest

from redshank.cli import main
from redshank.deletions import deleted_images_of
from redshank.errors import InputError
from redshank.store.control import ControlStore
from retraining.forget import forget
from retraining.loop import run_loop
from tests.retraining.tiny_world import World, add_trigger


def test_a_forgotten_image_is_gone_and_its_models_are_marked(
    world: World,
    store: ControlStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules())
    run_loop(place, holder="loop", once=True, stop=lambda: False)
    healing = store.healing(trigger_id)
    victim = place.field.images("pier")[0].sha256
    copies = list(world.home.rglob(f"{victim}.png"))
    assert len(copies) == 2  # field store and snapshot

    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(world.home))
    assert main(["retrain", "forget", victim, "--reason", "asked", "--actor", "ann"]) == 0
    assert healing.challenger is not None
    assert f"models trained on it: {healing.challenger}" in capsys.readouterr().out
    assert list(world.home.rglob(f"{victim}.png")) == []
    row = store.audit()[-1]
    assert (row.actor, row.action, row.subject) == ("ann", "forgotten", victim)
    assert row.details["bundles"] == [healing.challenger]
    assert row.details["snapshots"] == [healing.healing_id]
    assert store.verify_audit() == len(store.audit())

    assert main(["models", "show", "default", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained_on_deleted_images"] == [victim]
    assert main(["models", "show", "default"]) == 0
    assert "trained on 1 images that were deleted since" in capsys.readouterr().out
    world.registry.rollback("default", actor="ann", reason="", at_s=world.clock())
    assert main(["models", "show", "default"]) == 0
    assert "deleted since" not in capsys.readouterr().out


def test_a_healing_under_way_keeps_its_copy_until_it_ends(
    world: World, store: ControlStore
) -> None:
    trigger_id = add_trigger(world, store)
    place = world.place(store, world.rules(canary_s=1000.0))
    run_loop(place, holder="loop", once=True, stop=lambda: False)
    healing = store.healing(trigger_id)
    assert healing.state == "canary"
    victim = place.field.images("pier")[0].sha256
    (row,) = forget(place, [victim], actor="ann", reason="")
    assert (row.sites, row.snapshots, row.kept_by) == (1, (), (healing.healing_id,))
    store.transition(healing, "rolled_back", reason="", actor="ann", lease=None)
    (row,) = forget(place, [victim], actor="ann", reason="")
    assert (row.sites, row.snapshots, row.kept_by) == (0, (healing.healing_id,), ())


def test_no_digest_no_deletion(world: World, store: ControlStore) -> None:
    with pytest.raises(InputError, match="no sha256"):
        forget(world.place(store, world.rules()), ["*"], actor="ann", reason="")
    assert store.audit() == ()


def test_a_run_that_is_gone_was_trained_on_nothing(world: World) -> None:
    assert deleted_images_of(world.home / "runs" / "none", ["a" * 64]) == ()
