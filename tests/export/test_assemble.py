import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.assemble import export_run
from export.plan import ExportPlan
from redshank.bundle import MODEL_FILE, read_bundle, read_golden
from redshank.cells import cell_counts
from redshank.dataset import read_manifest
from redshank.errors import ConfigError, ConflictError, InputError, IntegrityError
from redshank.infer import calibrated, load_model
from redshank.preprocess import decode_image
from redshank.reference import read_reference
from redshank.registry import Registry
from redshank.run import RUN_FILE, WEIGHTS_FILE, read_held_out

from . import conftest


def test_the_bundle_is_what_the_run_says(exported: Path) -> None:
    bundle = read_bundle(exported)
    assert bundle.bundle_id == exported.name
    assert bundle.classes == ("heron", "plover", "stint")
    assert (bundle.input.height, bundle.input.width) == (32, 32)
    assert (bundle.temperature, bundle.temperature_fitted_on) == (1.5, "held_out")
    assert bundle.parity.logits < 1e-5
    assert bundle.parity.images == 8 + 16
    assert [(d.domain, d.n) for d in bundle.domains] == [("coast", 12), ("dunes", 7)]
    assert bundle.provenance.run_id == "20261122T090000-abcdef"
    assert sorted(p.name for p in exported.iterdir()) == sorted([*bundle.files, "bundle.json"])


def test_nothing_else_is_left_beside_the_bundle(exported: Path) -> None:
    assert [p.name for p in exported.parent.iterdir()] == [exported.name]


def test_the_file_carries_its_origin(exported: Path) -> None:
    properties = {p.key: p.value for p in onnx.load(exported / MODEL_FILE).metadata_props}
    assert properties["redshank.run"] == "20261122T090000-abcdef"
    assert json.loads(properties["redshank.classes"]) == ["heron", "plover", "stint"]
    assert float(properties["redshank.temperature"]) == 1.5


def test_a_server_can_load_test_and_publish_it(exported: Path) -> None:
    model = load_model(exported)
    assert model.self_test() < 1e-5
    assert model.predict(read_golden(exported).inputs_NHWC3).confidence_N.shape == (8,)
    registry = Registry(exported.parent.parent / "models", exported.parent)
    assert registry.publish(exported.name, actor="test", reason="", at_s=1.0).revision == 1


def test_golden_inputs_are_synthetic_and_answers_are_not_constant(exported: Path) -> None:
    golden = read_golden(exported)
    assert golden.logits_NC.std(axis=0).min() > 1e-3
    assert golden.embedding_NE.std() > 1e-3


def test_reference_cells_are_counted_with_the_temperature_of_the_run(
    exported: Path, run_dir: Path
) -> None:
    reference = read_reference(exported / "reference.npz")
    held_out = read_held_out(run_dir)
    assert held_out is not None
    for d in range(2):
        of_domain = held_out.domain_N == d
        soft = calibrated(held_out.logits_NC[of_domain], 1.5)
        expected = cell_counts(soft.argmax(1), soft.max(1), num_classes=3)
        np.testing.assert_array_equal(reference.held_out_counts_DCB[d], expected)
    assert reference.labelled_counts_CCB.sum(axis=(1, 2)).tolist() == [
        int((held_out.label_N == c).sum()) for c in range(3)
    ]


def test_validation_cells_are_those_of_the_served_model(exported: Path, run_dir: Path) -> None:
    model, manifest = load_model(exported), read_manifest(run_dir / "manifest.jsonl")
    for d, domain in enumerate(("coast", "marsh")):
        items = [i for i in manifest.items if i.domain == domain and i.split == "val"]
        pixels = [decode_image(manifest.image_path(i).read_bytes(), 32, 32) for i in items]
        found = model.predict(np.stack(pixels))
        expected = cell_counts(found.class_N, found.confidence_N, num_classes=3)
        np.testing.assert_array_equal(model.reference.validation_counts_DCB[d], expected)


def test_without_folds_and_validation_unlabelled_images_stand_in(
    make_run: Any, tmp_path: Path, plan: ExportPlan
) -> None:
    folder = export_run(make_run(val=0, held_out=False), tmp_path / "bundles", plan)
    reference = read_reference(folder / "reference.npz")
    assert not reference.has_absolute
    assert reference.validation_counts_DCB.sum(axis=(1, 2)).tolist() == [12.0, 12.0]
    assert reference.labelled_counts_CCB.sum() == 0


def test_a_domain_may_be_called_like_a_row_of_the_parity_table(
    make_run: Any, tmp_path: Path, plan: ExportPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("synthetic", "batch of 3")):
        monkeypatch.setattr(conftest, "DOMAINS", ("coast", name))
        folder = export_run(make_run(), tmp_path / str(number), plan)
        assert read_bundle(folder).source_domains == ("coast", name)
        assert read_bundle(folder).parity.images == 8 + 16


def test_a_tolerance_that_cannot_be_met_publishes_nothing(
    run_dir: Path, tmp_path: Path, plan: ExportPlan
) -> None:
    with pytest.raises(IntegrityError, match=r"(?s)does not answer.*coast.*marsh.*batch of 32"):
        export_run(run_dir, tmp_path / "bundles", dataclasses.replace(plan, tolerance=0.0))
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_run_without_weights_is_refused(run_dir: Path, tmp_path: Path, plan: ExportPlan) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(run_dir, bare)
    (bare / WEIGHTS_FILE).unlink()
    with pytest.raises(IntegrityError, match=r"model\.safetensors is missing"):
        export_run(bare, tmp_path / "bundles", plan)
    values = json.loads((bare / RUN_FILE).read_text())
    del values["files"][WEIGHTS_FILE]
    (bare / RUN_FILE).write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        export_run(bare, tmp_path / "bundles", plan)


def test_weights_that_do_not_fit_the_run_are_refused(
    run_dir: Path, tmp_path: Path, plan: ExportPlan
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run_dir, other)
    values = json.loads((other / RUN_FILE).read_text())
    values["classes"] = ["heron", "plover"]
    (other / RUN_FILE).write_text(json.dumps(values))
    with pytest.raises(IntegrityError, match="weights have 3 classes"):
        export_run(other, tmp_path / "bundles", plan)


def test_images_that_went_away_are_named(make_run: Any, tmp_path: Path, plan: ExportPlan) -> None:
    run = make_run()
    (run.parent / "images" / "marsh" / "018.png").unlink()
    with pytest.raises(InputError, match=r"marsh/018\.png .* is missing"):
        export_run(run, tmp_path / "bundles", plan)


def test_wrong_names_are_refused_before_any_work(
    run_dir: Path, tmp_path: Path, plan: ExportPlan
) -> None:
    with pytest.raises(InputError, match="holds no run"):
        export_run(tmp_path, tmp_path / "bundles", plan)
    with pytest.raises(InputError, match="model name"):
        export_run(run_dir, tmp_path / "bundles", dataclasses.replace(plan, model="../up"))
    with pytest.raises(InputError, match="holds no bundle"):
        export_run(
            run_dir,
            tmp_path / "bundles",
            dataclasses.replace(plan, parent_bundle="20200101T000000-0"),
        )
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_batch": 1}, "export.max_batch is 1, expected 2 to"),
        ({"reference_images": 19}, "export.reference_images is 19, expected 20 to"),
        ({"parity_images": 0}, "export.parity_images is 0"),
        ({"tolerance": float("nan")}, "export.tolerance is nan"),
        ({"abstain_below": 7.0}, "export.abstain_below is 7.0, expected 0.0 to 1.0"),
    ],
)
def test_impossible_numbers_are_named(
    run_dir: Path, tmp_path: Path, plan: ExportPlan, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_run(run_dir, tmp_path / "bundles", dataclasses.replace(plan, **change))
    assert not (tmp_path / "bundles").exists()


def test_a_changed_graph_is_not_loaded_and_not_published(exported: Path, tmp_path: Path) -> None:
    changed = tmp_path / "bundles" / exported.name
    shutil.copytree(exported, changed)
    data = bytearray((changed / MODEL_FILE).read_bytes())
    data[-100] ^= 1
    (changed / MODEL_FILE).write_bytes(bytes(data))
    registry = Registry(tmp_path / "models", tmp_path / "bundles")
    with pytest.raises(IntegrityError, match="sha256"):
        load_model(changed)
    with pytest.raises(IntegrityError, match="sha256"):
        registry.publish(changed.name, actor="test", reason="", at_s=1.0)


def test_two_exports_of_one_run_are_two_bundles(
    exported: Path, run_dir: Path, plan: ExportPlan
) -> None:
    second = export_run(
        run_dir, exported.parent, dataclasses.replace(plan, parent_bundle=exported.name)
    )
    assert read_bundle(second).provenance.parent_bundle == exported.name
    registry = Registry(exported.parent.parent / "other", exported.parent)
    registry.publish(exported.name, actor="test", reason="", at_s=1.0)
    with pytest.raises(ConflictError):
        registry.rollback("default", actor="test", reason="", at_s=2.0)
    registry.publish(second.name, actor="test", reason="", at_s=3.0)
    assert registry.rollback("default", actor="t", reason="", at_s=4.0).live == exported.name
    shutil.rmtree(second)
