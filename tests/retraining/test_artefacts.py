from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import IntegrityError
from redshank.run import WEIGHTS_FILE, BackboneSpec, read_run
from redshank.store.control import ControlStore
from retraining.artefacts import find_bundle, find_run, run_of_bundle
from retraining.workplace import export_command, training_command
from tests.retraining.tiny_model import write_tiny_bundle
from tests.retraining.tiny_stages import write_tiny_run
from tests.retraining.tiny_world import PROGRAM, World


@pytest.fixture
def manifest(world: World) -> Path:
    return world.home / "data" / "manifest.jsonl"


def test_a_run_is_found_by_the_digest_of_its_manifest(world: World, manifest: Path) -> None:
    runs = world.home / "runs"
    found = find_run(runs, manifest)
    assert found is not None
    assert read_run(runs / found).run_id == found
    other = world.home / "other.jsonl"
    other.write_text(manifest.read_text() + "\n")
    assert find_run(runs, other) is None
    assert find_run(world.home / "nowhere", manifest) is None


def test_half_published_and_foreign_folders_are_passed_over(world: World, manifest: Path) -> None:
    runs = world.home / "runs"
    expected = find_run(runs, manifest)
    hidden = runs / ".29991231T000000-abcdef.x1"
    hidden.mkdir()
    (hidden / "run.json").write_bytes((runs / str(expected) / "run.json").read_bytes())
    foreign = runs / "29991231T000000-abcdef"
    foreign.mkdir()
    (foreign / "run.json").write_text('{"schema": 99}')
    assert find_run(runs, manifest) == expected


def test_a_run_that_changed_is_no_run(world: World, manifest: Path) -> None:
    runs = world.home / "runs"
    (runs / str(find_run(runs, manifest)) / WEIGHTS_FILE).write_bytes(b"other")
    with pytest.raises(IntegrityError):
        find_run(runs, manifest)


def test_a_bundle_is_found_by_run_and_model(world: World, manifest: Path) -> None:
    bundles, runs = world.home / "bundles", world.home / "runs"
    folder = write_tiny_run(runs, manifest, parent=None)
    assert find_bundle(bundles, run_id=folder.name, model="default") is None
    bundle = write_tiny_bundle(bundles, world.models / "good", run=read_run(folder))
    assert find_bundle(bundles, run_id=folder.name, model="default") == bundle.name
    assert find_bundle(bundles, run_id=folder.name, model="other") is None
    assert run_of_bundle(runs, bundle)[0] == folder


def test_the_commands_of_the_stages(world: World, store: ControlStore) -> None:
    place = world.place(store, world.rules(steps=77))
    network = BackboneSpec("small_cnn", 32, 128, 24)
    command = training_command(place, Path("/s/manifest.jsonl"), Path("/r/1"), network)
    assert command[: len(PROGRAM) + 2] == (*PROGRAM, "train", "/s/manifest.jsonl")
    assert "--resume" in command
    assert set(command[command.index("--set") :]) == {
        "--set",
        "training.steps=77",
        "training.held_out=off",
        "training.backbone=small_cnn",
        "training.image_size=32",
        "training.width=24",
    }
    resnet = BackboneSpec("resnet18", 224, 512, 0)
    command = training_command(place, Path("/m"), Path("/r/1"), resnet)
    assert not [word for word in command if word.startswith("training.width")]
    command = export_command(place, Path("/r/2"), "b-1", model="birds")
    assert command[len(PROGRAM) :] == (
        *("export", "/r/2", "--parent-bundle", "b-1"),
        *("--set", "export.model=birds"),
    )
