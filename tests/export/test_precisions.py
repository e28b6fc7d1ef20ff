import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from export.answers import all_answers
from export.assemble import export_run
from export.images import held_items
from export.plan import ExportPlan
from export.precision_gate import Limits, PrecisionError
from export.precisions import Fp32, PrecisionPlan, add_precisions, calibration_items
from redshank.bundle import PRECISIONS, read_bundle, read_golden
from redshank.cells import cell_counts
from redshank.dataset import read_manifest
from redshank.errors import ConfigError
from redshank.infer import load_model
from redshank.onnx_session import open_session
from redshank.preprocess import decode_image
from redshank.reference import Reference, read_reference
from redshank.run import read_run

from .conftest import PLAN, MakeRun, random_network

LOOSE = Limits(accuracy_drop=0.3, agreement=0.5, confidence_shift=0.05, cells_moved=1.0)
FURTHER = PrecisionPlan(further=PRECISIONS, calibration_images=6, limits=LOOSE)


@pytest.fixture(scope="module")
def bundle_dir(run_dir: Path, plan: ExportPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("precisions") / "bundles"
    return export_run(run_dir, home, dataclasses.replace(plan, precision=FURTHER))


def test_each_precision_has_files_figures_and_a_temperature(bundle_dir: Path) -> None:
    bundle = read_bundle(bundle_dir)
    assert [a.precision for a in bundle.artefacts] == ["int8", "fp16", "int8_tensorrt"]
    assert sorted(p.name for p in bundle_dir.iterdir()) == sorted([*bundle.files, "bundle.json"])
    for artefact in bundle.artefacts:
        assert {artefact.file, artefact.golden, artefact.reference} <= set(bundle.files)
        assert artefact.temperature == pytest.approx(bundle.temperature, rel=0.1)
        assert [row.domain for row in artefact.rows] == ["coast", "marsh"]
        assert [row.images for row in artefact.rows] == [12, 12]
        properties = onnx.load(bundle_dir / artefact.file).metadata_props
        facts = {p.key: p.value for p in properties}
        assert facts["redshank.precision"] == artefact.precision
        assert float(facts["redshank.temperature"]) == artefact.temperature
        assert facts["redshank.run"] == bundle.provenance.run_id


def test_a_server_can_load_and_test_each(bundle_dir: Path) -> None:
    inputs = read_golden(bundle_dir).inputs_NHWC3
    plain = load_model(bundle_dir).predict(inputs)
    for precision in PRECISIONS:
        model = load_model(bundle_dir, precision=precision)
        assert model.self_test() < 1e-6
        answers = model.predict(inputs)
        assert (
            0
            < np.abs(answers.logits_NC - plain.logits_NC).max()
            <= (model.artefact.tolerance * max(1.0, np.abs(plain.logits_NC).max()) * (1 + 1e-6))
        )


def test_references_are_counted_with_the_answers_of_the_precision(
    bundle_dir: Path, run_dir: Path
) -> None:
    model = load_model(bundle_dir, precision="int8")
    manifest = read_manifest(run_dir / "manifest.jsonl")
    items = [i for i in manifest.items if i.domain == "marsh" and i.split == "val"]
    pixels = [decode_image(manifest.image_path(i).read_bytes(), 32, 32) for i in items]
    found = model.predict(np.stack(pixels))
    expected = cell_counts(found.class_N, found.confidence_N, num_classes=3)
    np.testing.assert_array_equal(model.reference.validation_counts_DCB[1], expected)
    plain = read_reference(bundle_dir / "reference.npz")
    np.testing.assert_array_equal(model.reference.held_out_counts_DCB, plain.held_out_counts_DCB)
    assert not np.array_equal(model.reference.embedding_mean_E, plain.embedding_mean_E)


@pytest.fixture
def scratch(exported: Path, run_dir: Path, tmp_path: Path) -> Fp32:
    """A bundle under construction: fp32 is there, its manifest is not."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    for name in ("model.onnx", "golden.npz", "reference.npz"):
        shutil.copy(exported / name, folder)
    run, manifest = read_run(run_dir), read_manifest(run_dir / "manifest.jsonl")
    items = {domain: held_items(manifest, domain, limit=50) for domain in run.source_domains}
    session = open_session(folder / "model.onnx")
    return Fp32(folder, run, manifest, items, all_answers(session, run, manifest, items))


def no_reference(answers: Any) -> Reference:
    raise AssertionError(f"references of a refused precision: {answers}")


def test_a_refused_precision_shows_every_domain(scratch: Fp32) -> None:
    strict = PrecisionPlan(further=("int8",), limits=Limits(confidence_shift=0.0))
    with pytest.raises(PrecisionError, match=r"(?s)coast: confidence moves.*labelled.*marsh"):
        add_precisions(scratch, strict, no_reference)


def test_or_is_left_out_where_that_is_wished(scratch: Fp32) -> None:
    said: list[str] = []
    limits = dataclasses.replace(LOOSE, logits=0.0)
    partly = PrecisionPlan(("int8_tensorrt", "fp16"), False, 6, fp16_tolerance=1.0, limits=limits)
    reference = read_reference(scratch.folder / "reference.npz")
    accepted = add_precisions(scratch, partly, lambda _: reference, say=said.append)
    assert [a.precision for a in accepted] == ["fp16"]
    assert not [p for p in scratch.folder.iterdir() if "tensorrt" in p.name]
    assert [line for line in said if line.startswith("left out: int8_tensorrt does not answer")]


def test_calibration_leaves_images_to_judge_by(run_dir: Path) -> None:
    manifest = read_manifest(run_dir / "manifest.jsonl")
    for limit, expected in ((4, 4), (1000, 9)):  # of 18 training images a domain
        items = calibration_items(manifest, "coast", limit=limit)
        assert len({item.path for item in items}) == expected
        assert {(item.domain, item.split) for item in items} == {("coast", "train")}
    validation = dataclasses.replace(
        manifest, items=tuple(i for i in manifest.items if i.split == "val")
    )
    assert len(calibration_items(validation, "marsh", limit=1000)) == 6
    assert calibration_items(manifest, "nowhere", limit=9) == ()


def test_a_single_image_is_left_to_judge_by_where_nothing_else_is(run_dir: Path) -> None:
    manifest = read_manifest(run_dir / "manifest.jsonl")
    train = next(i for i in manifest.items if i.split == "train")
    val = next(i for i in manifest.items if i.domain == train.domain and i.split == "val")
    for items, expected in (((train,), ()), ((val,), ()), ((train, val), (train,))):
        small = dataclasses.replace(manifest, items=items)
        assert calibration_items(small, train.domain, limit=9) == expected


def test_half_precision_that_overflows_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    network = random_network()
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.weight.mul_(60)
    run_dir, limits = make_run(network=network), Limits(1.0, 0.0, 1.0, 1.0)
    partly = PrecisionPlan(("fp16",), require=False, limits=limits)
    said: list[str] = []
    plain = dataclasses.replace(PLAN, precision=partly)
    folder = export_run(run_dir, tmp_path / "bundles", plain, say=said.append)
    assert read_bundle(folder).artefacts == ()
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*read_bundle(folder).files, "bundle.json"]
    )
    assert [line for line in said if "coast: answers are not finite numbers" in line]


def test_a_network_that_cannot_be_quantised_is_refused_too(
    scratch: Fp32, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_source: Path, target: Path, _pixels: Any, **_options: Any) -> None:
        target.write_bytes(b"half a graph")
        raise RuntimeError("unsupported operator")

    monkeypatch.setattr("export.precisions.int8_for_cpu", broken)
    with pytest.raises(PrecisionError, match=r"int8 cannot be made .* unsupported operator"):
        add_precisions(scratch, PrecisionPlan(("int8",)), no_reference)
    said: list[str] = []
    partly = PrecisionPlan(("int8",), require=False)
    assert add_precisions(scratch, partly, no_reference, say=said.append) == ()
    assert not (scratch.folder / "model.int8.onnx").exists()
    assert said[-1].startswith("left out: int8 cannot be made")


def test_an_unknown_or_repeated_precision_is_refused_before_any_work(
    run_dir: Path, tmp_path: Path, plan: ExportPlan
) -> None:
    for further, message in (
        (("int4",), r"precision\.further has 'int4', expected int8, fp16"),
        (("int8", "fp16", "int8"), r"precision\.further has 'int8' more than once"),
    ):
        wrong = dataclasses.replace(plan, precision=PrecisionPlan(further=further))
        with pytest.raises(ConfigError, match=message):
            export_run(run_dir, tmp_path / "b", wrong)
    assert not (tmp_path / "b").exists()
