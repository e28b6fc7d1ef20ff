import shutil
from pathlib import Path

import numpy as np
import pytest

from redshank.bundle import GOLDEN_FILE, MODEL_FILE, REFERENCE_FILE
from redshank.errors import InputError, IntegrityError, MissingPartError
from redshank.infer import (
    CHUNK,
    CPU,
    Array,
    calibrated,
    load_model,
    novelty_rank,
    open_session,
    top_classes,
)
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


def test_a_graph_that_is_none_or_does_not_fit_is_refused(copy: Path) -> None:
    (copy / MODEL_FILE).write_bytes(b"no graph")
    with pytest.raises(IntegrityError, match="does not load"):
        load_model(copy, verify=False)
    write_colour_graph(copy / MODEL_FILE, batch=1)
    with pytest.raises(IntegrityError, match="free batch axis"):
        load_model(copy, verify=False)


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


def test_the_session_tells_what_it_got_and_refuses_what_it_cannot(folder: Path) -> None:
    assert load_model(folder, providers=[CPU]).providers == (CPU,)
    with pytest.raises(MissingPartError, match="no provider 'NoSuchProvider'"):
        load_model(folder, providers=["NoSuchProvider"])


def test_threads_sleep_between_runs(folder: Path) -> None:
    options = open_session(folder / MODEL_FILE, threads=2).get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_temperature_changes_confidence_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    soft_bundle = write_colour_bundle(tmp_path / "soft", temperature=5.0)
    soft = load_model(soft_bundle).predict(random_images(50))
    sharp = load_model(folder).predict(random_images(50))
    np.testing.assert_array_equal(soft.class_N, sharp.class_N)
    np.testing.assert_array_equal(soft.logits_NC, sharp.logits_NC)
    assert (soft.confidence_N < sharp.confidence_N).all()
