import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redshank.bundle import (
    GOLDEN_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    Artefact,
    Golden,
    precision_files,
    read_bundle,
    read_golden,
    write_bundle,
    write_golden,
)
from redshank.errors import InputError, IntegrityError, SchemaError
from redshank.files import sha256_file
from redshank.infer import (
    Array,
    calibrated,
    load_model,
    load_served,
    novelty_rank,
    top_classes,
)
from redshank.onnx_session import CHUNK
from redshank.reference import read_reference, write_reference
from tests.colour_bundle import (
    CLASSES,
    SIDE,
    WEIGHT_EC,
    mean_colour,
    random_images,
    write_colour_bundle,
    write_colour_graph,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_bundle(tmp_path_factory.mktemp("bundles") / "20261122T090000-aaaaaa")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("n", [1, 2, CHUNK, 2 * CHUNK + 3])
def test_predictions_are_those_of_numpy(folder: Path, n: int) -> None:
    batch = random_images(n)
    found = load_model(folder).predict(batch)
    logits = mean_colour(batch) @ WEIGHT_EC
    powers = np.exp(logits / 2.0)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    ordered = np.sort(probabilities, axis=1)
    np.testing.assert_allclose(found.logits_NC, logits, atol=1e-5)
    np.testing.assert_allclose(found.probabilities_NC, probabilities, atol=1e-6)
    np.testing.assert_allclose(found.confidence_N, ordered[:, -1], atol=1e-6)
    np.testing.assert_allclose(found.margin_N, ordered[:, -1] - ordered[:, -2], atol=1e-6)
    np.testing.assert_array_equal(found.class_N, logits.argmax(axis=1))
    np.testing.assert_allclose(found.embedding_NE, mean_colour(batch), atol=1e-6)


def test_no_images_give_empty_answers(folder: Path) -> None:
    found = load_model(folder).predict(random_images(0))
    assert found.probabilities_NC.shape == (0, 3)
    assert found.confidence_N.shape == found.novelty_N.shape == (0,)


def test_novelty_is_a_uniform_rank_on_fresh_images_of_the_same_kind(folder: Path) -> None:
    model = load_model(folder)
    rank = np.sort(model.predict(random_images(2000, seed=2)).novelty_N)
    gap = np.abs(rank - (np.arange(2000) + 0.5) / 2000).max()
    assert gap < 1.63 / np.sqrt(2000) + 1.63 / np.sqrt(999)  # two Kolmogorov bounds at 1 %
    shades = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    shades[0, ..., 0] = 255  # red: no mean of noise is so far from grey
    shades[1] = 200  # grey: the mean direction itself
    assert model.predict(shades).novelty_N.tolist() == [1.0, 0.0, 1.0]  # black has no direction


def test_novelty_is_the_same_for_a_dimmer_copy(folder: Path) -> None:
    model = load_model(folder)
    embedding = np.random.default_rng(3).uniform(size=(20, 3))
    np.testing.assert_allclose(
        novelty_rank(model.reference, embedding), novelty_rank(model.reference, embedding * 0.1)
    )


def test_calibration_keeps_order_and_survives_large_logits() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0]])
    soft = calibrated(logits, 10.0)
    assert soft.sum() == pytest.approx(1.0)
    assert soft[0, 0] == pytest.approx(1 / (1 + np.exp(-0.1)))
    assert np.isfinite(soft).all()


def test_top_classes_are_ordered_and_ties_follow_class_order() -> None:
    top = top_classes(np.array([0.25, 0.25, 0.5]), CLASSES, k=2)
    assert [(t.class_name, t.confidence) for t in top] == [("blue", 0.5), ("red", 0.25)]


def test_self_test_passes_and_returns_the_difference(folder: Path) -> None:
    assert load_model(folder).self_test() < 1e-5


def test_self_test_refuses_another_answer(copy: Path) -> None:
    write_colour_graph(copy / MODEL_FILE, weight_EC=WEIGHT_EC * 1.01)
    model = load_model(copy, verify=False)
    with pytest.raises(IntegrityError, match="golden logits differ by"):
        model.self_test()


def test_self_test_refuses_not_a_number(copy: Path) -> None:
    write_colour_graph(copy / MODEL_FILE, weight_EC=WEIGHT_EC * np.float32(np.nan))
    with pytest.raises(IntegrityError, match="nan"):
        load_model(copy, verify=False).self_test()


@pytest.mark.parametrize("name", [MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE])
def test_a_changed_file_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"sha256 .* says"):
        load_model(copy)


@pytest.mark.parametrize("name", [MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE])
def test_a_file_without_a_digest_is_refused(copy: Path, name: str) -> None:
    bundle = read_bundle(copy)
    files = {other: digest for other, digest in bundle.files.items() if other != name}
    write_bundle(copy, dataclasses.replace(bundle, files=files))
    with pytest.raises(IntegrityError, match=f"has no digest of {name}"):
        load_model(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature of fp32 is 0.0, expected a number above 0"),
        ({"temperature": -1.0}, "temperature of fp32 is -1.0"),
        ({"abstain_below": 1.5}, "abstain_below is 1.5, expected 0 to 1"),
        ({"classes": ()}, "expected different names"),
        ({"classes": ("red", "red", "blue")}, "expected different names"),
        ({"files": {"../model.onnx": "0" * 64}}, r"'\.\./model.onnx' is no file of the bundle"),
    ],
)
def test_a_manifest_that_would_fail_later_is_refused(
    folder: Path, copy: Path, changes: dict[str, Any], message: str
) -> None:
    write_bundle(copy, dataclasses.replace(read_bundle(folder), **changes))
    with pytest.raises(SchemaError, match=message):
        read_bundle(copy, verify=False)


def test_a_temperature_that_is_no_number_is_refused(copy: Path) -> None:
    path = copy / "bundle.json"
    path.write_text(path.read_text().replace('"temperature": 2.0', '"temperature": NaN'))
    with pytest.raises(SchemaError, match="temperature of fp32 is nan"):
        load_model(copy)


def test_a_precision_lies_inside_the_folder(copy: Path) -> None:
    bundle = read_bundle(with_int8(copy))
    outside = dataclasses.replace(bundle.artefacts[0], file="../other/model.onnx")
    write_bundle(copy, dataclasses.replace(bundle, artefacts=(outside,)))
    with pytest.raises(SchemaError, match=r"'\.\./other/model.onnx' is no file"):
        load_model(copy, precision="int8")
    write_bundle(copy, dataclasses.replace(bundle, artefacts=(), schema=2))
    with pytest.raises(InputError) as caught:
        load_model(copy, precision="int8")
    assert "export.precision.further=int8" in caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 5, 5, 3), np.uint8),
        np.zeros((2, SIDE, SIDE, 3), np.float32),
        np.zeros((SIDE, SIDE, 3), np.uint8),
    ],
)
def test_images_of_another_kind_are_refused(folder: Path, wrong: Array) -> None:
    with pytest.raises(InputError, match="the model takes uint8"):
        load_model(folder).predict(wrong)


def test_temperature_changes_confidence_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    soft_bundle = write_colour_bundle(tmp_path / "soft", temperature=5.0)
    soft = load_model(soft_bundle).predict(random_images(50))
    sharp = load_model(folder).predict(random_images(50))
    np.testing.assert_array_equal(soft.class_N, sharp.class_N)
    np.testing.assert_array_equal(soft.logits_NC, sharp.logits_NC)
    assert (soft.confidence_N < sharp.confidence_N).all()


def with_int8(folder: Path, *, gain: float = 1.1) -> Path:
    """The bundle with a second artefact: logits `gain` times as large, at its own temperature."""
    graph, golden_name, reference_name = precision_files("int8")
    write_colour_graph(folder / graph, weight_EC=WEIGHT_EC * np.float32(gain))
    golden = read_golden(folder)
    write_golden(
        folder,
        Golden(golden.inputs_NHWC3, golden.logits_NC * np.float32(gain), golden.embedding_NE),
        name=golden_name,
    )
    reference = read_reference(folder / REFERENCE_FILE)
    write_reference(
        folder / reference_name,
        dataclasses.replace(reference, novelty_quantiles_Q=reference.novelty_quantiles_Q * 2),
    )
    bundle = read_bundle(folder)
    artefact = Artefact(
        "int8", graph, golden_name, reference_name, bundle.temperature * gain, 0.05, ()
    )
    files = bundle.files | {
        name: sha256_file(folder / name) for name in (graph, golden_name, reference_name)
    }
    write_bundle(folder, dataclasses.replace(bundle, schema=2, files=files, artefacts=(artefact,)))
    return folder


def test_a_precision_answers_with_everything_of_its_own(copy: Path) -> None:
    fp32, int8 = load_model(with_int8(copy)), load_model(copy, precision="int8")
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    images = random_images(50)
    plain, small = fp32.predict(images), int8.predict(images)
    np.testing.assert_allclose(small.logits_NC, plain.logits_NC * 1.1, rtol=1e-4)
    np.testing.assert_allclose(small.confidence_N, plain.confidence_N, atol=1e-5)
    assert (small.novelty_N < plain.novelty_N).all()
    assert int8.self_test() < 1e-4


def test_golden_answers_of_a_precision_have_their_own_tolerance(copy: Path) -> None:
    with_int8(copy)
    write_colour_graph(copy / "model.int8.onnx", weight_EC=WEIGHT_EC * np.float32(1.11))
    assert load_model(copy, precision="int8", verify=False).self_test() > 1e-2
    write_colour_graph(copy / "model.int8.onnx", weight_EC=WEIGHT_EC * np.float32(1.2))
    with pytest.raises(IntegrityError, match=r"allowed .* \(int8, CPU"):
        load_model(copy, precision="int8", verify=False).self_test()


def test_what_is_wished_answers_where_it_is_there(copy: Path, folder: Path) -> None:
    assert load_served(with_int8(copy), "int8").precision == "int8"
    assert load_served(folder, "int8").precision == "fp32"


def test_a_precision_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no precision 'int8', it has fp32"):
        load_model(folder, precision="int8")
