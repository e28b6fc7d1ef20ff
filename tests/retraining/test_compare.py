from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from redshank.bundle import BUNDLE_FILE, MODEL_FILE
from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import ConflictError, InputError
from redshank.files import read_json, to_json
from redshank.healing import Gate
from redshank.run import MANIFEST_FILE, read_run
from retraining.compare import Thresholds, compare_bundles
from retraining.gates import overall
from tests.retraining.tiny_model import write_tiny_bundle
from tests.retraining.tiny_world import VALIDATION_IMAGES, World

LIMITS = Thresholds(
    accuracy_margin=0.05,
    entropy_drop=0.05,
    min_agreement=0.4,
    nuclear_norm_drop=1.0,
    alpha=0.05,
)


@pytest.fixture
def snapshot(world: World) -> Manifest:
    """The champion's data as in a snapshot, with the field images below its own root."""
    run = next(path.parent for path in (world.home / "runs").glob("*/run.json"))
    manifest = read_manifest(run / MANIFEST_FILE)
    source = tuple(
        dataclasses.replace(item, path=str(manifest.image_path(item))) for item in manifest.items
    )
    field = tuple(
        Item(str(image.path.relative_to(world.home)), "pier", sha256=image.sha256)
        for image in world.field_store.images("pier")
    )
    return Manifest(manifest.classes, world.home, source + field)


def champion(world: World) -> Path:
    return world.registry.bundle_path(world.registry.read("default").live)


def challenger(world: World, model: str) -> Path:
    run = read_run(next(path.parent for path in (world.home / "runs").glob("*/run.json")))
    return write_tiny_bundle(world.home / "bundles", world.models / model, run=run)


def compare(world: World, folder: Path, snapshot: Manifest) -> dict[tuple[str, str], Gate]:
    gates = compare_bundles(
        champion(world), folder, snapshot, labels={}, limits=LIMITS, stop=lambda: False
    )
    return {(gate.name, gate.domain): gate for gate in gates}


def test_an_equal_challenger_passes_everything(world: World, snapshot: Manifest) -> None:
    gates = compare(world, challenger(world, "good"), snapshot)
    assert overall(gates.values()) == "pass"
    validation = gates["source_validation", "paper"]
    assert (validation.n, validation.value) == (VALIDATION_IMAGES, 0.0)


def test_the_collapsed_one_fails_where_it_must(world: World, snapshot: Manifest) -> None:
    gates = compare(world, challenger(world, "collapsed"), snapshot)
    failed = {key for key, gate in gates.items() if gate.verdict == "fail"}
    assert ("class_entropy", "pier") in failed
    assert ("source_validation", "paper") in failed
    assert gates["class_entropy", "pier"].value == pytest.approx(1.0)


def test_a_changed_bundle_fails_at_the_first_gate(world: World, snapshot: Manifest) -> None:
    folder = challenger(world, "good")
    (folder / MODEL_FILE).write_bytes((folder / MODEL_FILE).read_bytes() + b"x")
    gates = compare(world, folder, snapshot)
    assert list(gates) == [("golden", "")]
    assert gates["golden", ""].verdict == "fail"
    assert "sha256" in gates["golden", ""].sentence


def test_other_answers_than_at_export_fail(world: World, snapshot: Manifest) -> None:
    folder, other = challenger(world, "good"), challenger(world, "worse")
    (folder / MODEL_FILE).write_bytes((other / MODEL_FILE).read_bytes())
    values = read_json(folder / BUNDLE_FILE)
    values["files"][MODEL_FILE] = read_json(other / BUNDLE_FILE)["files"][MODEL_FILE]
    (folder / BUNDLE_FILE).write_bytes(to_json(values))
    gates = compare(world, folder, snapshot)
    assert gates["golden", ""].verdict == "fail"
    assert "golden logits differ" in gates["golden", ""].sentence


def test_other_classes_are_an_error(world: World, snapshot: Manifest) -> None:
    folder = challenger(world, "good")
    values = read_json(folder / BUNDLE_FILE)
    values["classes"] = ["red", "green", "violet"]
    (folder / BUNDLE_FILE).write_bytes(to_json(values))
    with pytest.raises(InputError, match="different classes"):
        compare(world, folder, snapshot)


def test_without_field_images_nothing_is_released(world: World, snapshot: Manifest) -> None:
    source = tuple(item for item in snapshot.items if item.domain != "pier")
    gates = compare(world, challenger(world, "good"), dataclasses.replace(snapshot, items=source))
    assert gates["class_entropy", ""].verdict == "cannot_tell"
    assert overall(gates.values()) == "cannot_tell"


def test_without_validation_labels_nothing_is_released(world: World, snapshot: Manifest) -> None:
    items = tuple(item for item in snapshot.items if item.split != "val")
    gates = compare(world, challenger(world, "good"), dataclasses.replace(snapshot, items=items))
    assert gates["source_validation", "paper"].verdict == "cannot_tell"
    assert gates["agreement", "paper"].verdict == "cannot_tell"


def test_unreadable_images_are_left_out_of_both(world: World, snapshot: Manifest) -> None:
    items = [item for item in snapshot.items if item.domain == "paper" and item.split == "val"]
    for item in items[:5]:
        snapshot.image_path(item).write_bytes(b"torn")
    gates = compare(world, challenger(world, "good"), snapshot)
    assert gates["source_validation", "paper"].n == VALIDATION_IMAGES - 5


def test_stop(world: World, snapshot: Manifest) -> None:
    with pytest.raises(ConflictError, match="stopped"):
        compare_bundles(
            champion(world),
            challenger(world, "good"),
            snapshot,
            labels={},
            limits=LIMITS,
            stop=lambda: True,
        )
