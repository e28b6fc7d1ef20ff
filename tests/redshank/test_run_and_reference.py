from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redshank.accuracy import AccuracyPools
from redshank.bundle import Golden, read_golden, write_golden
from redshank.errors import InputError, IntegrityError
from redshank.files import sha256_bytes
from redshank.records import from_dict
from redshank.reference import Reference, read_reference, write_reference
from redshank.run import HeldOut, Run, read_held_out, read_run, write_held_out, write_run

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def _reference() -> Reference:
    return Reference(
        held_out_counts_DCB=np.zeros((2, 3, 4)),
        validation_counts_DCB=np.ones((2, 3, 4)),
        labelled_counts_CCB=np.ones((3, 3, 4)),
        embedding_mean_E=np.zeros(5),
        embedding_projection_EP=np.eye(5),
        novelty_quantiles_Q=np.linspace(0, 1, 11),
    )


def test_reference_round_trip(tmp_path: Path) -> None:
    write_reference(tmp_path / "r.npz", _reference())
    read = read_reference(tmp_path / "r.npz")
    for field in dataclasses.fields(Reference):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(_reference(), field.name))
    assert not read.has_absolute


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labelled_counts_CCB": np.ones((3, 2, 4))}, "expected \\(3, 3, 4\\)"),
        ({"embedding_mean_E": np.array([np.nan])}, "not finite"),
    ],
)
def test_reference_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_reference(tmp_path / "r.npz", dataclasses.replace(_reference(), **change))
    with pytest.raises(IntegrityError, match=message):
        read_reference(tmp_path / "r.npz")


def test_reference_without_an_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", embedding_mean_E=np.zeros(3))
    with pytest.raises(IntegrityError, match="'held_out_counts_DCB' is missing"):
        read_reference(tmp_path / "r.npz")


def _pools() -> AccuracyPools:
    return AccuracyPools(np.ones((6, 2)), np.full(6, 0.9), np.full((6, 2), 0.8), np.ones((2, 3)))


def test_the_accuracy_part_makes_a_round_trip(tmp_path: Path) -> None:
    write_reference(tmp_path / "r.npz", dataclasses.replace(_reference(), accuracy=_pools()))
    read = read_reference(tmp_path / "r.npz").accuracy
    assert read is not None
    for field in dataclasses.fields(AccuracyPools):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(_pools(), field.name))


def test_a_reference_of_an_older_export_has_no_accuracy_part(tmp_path: Path) -> None:
    arrays = {name: a for name, a in vars(_reference()).items() if name != "accuracy"}
    np.savez_compressed(tmp_path / "r.npz", **arrays)  # as it was written before
    assert read_reference(tmp_path / "r.npz").accuracy is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"left_out_PM": np.ones((5, 2))}, r"accuracy_left_out_PM .* \(5, 2\), expected \(6, 2\)"),
        ({"true_P": np.ones(0)}, r"accuracy_statistics_PS .* expected \(1, 2\)"),
        ({"weights_MW": np.ones((2, 4))}, r"accuracy_weights_MW .* \(2, 4\), expected \(2, 3\)"),
        ({"true_P": np.full(6, np.inf)}, "'accuracy_true_P' holds values that are not finite"),
    ],
)
def test_an_accuracy_part_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    pools = dataclasses.replace(_pools(), **change)
    write_reference(tmp_path / "r.npz", dataclasses.replace(_reference(), accuracy=pools))
    with pytest.raises(IntegrityError, match=message):
        read_reference(tmp_path / "r.npz")


def test_half_an_accuracy_part_is_refused(tmp_path: Path) -> None:
    arrays = {name: a for name, a in vars(_reference()).items() if name != "accuracy"}
    np.savez(tmp_path / "r.npz", **arrays, accuracy_true_P=np.ones(2))
    with pytest.raises(IntegrityError, match="'accuracy_statistics_PS' is missing"):
        read_reference(tmp_path / "r.npz")


def test_run_is_verified_by_digest(tmp_path: Path) -> None:
    example = from_dict(Run, json.loads((GOLDEN / "run.json").read_text()), source="golden")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    run = dataclasses.replace(example, files={"model.safetensors": sha256_bytes(b"weights")})
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(IntegrityError, match=r"model\.safetensors has sha256"):
        read_run(tmp_path)
    assert read_run(tmp_path, verify=False) == run


def test_folder_without_run_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        read_run(tmp_path)


def test_held_out_and_golden_round_trip(tmp_path: Path) -> None:
    assert read_held_out(tmp_path) is None
    held_out = HeldOut(np.ones((4, 2), np.float32), np.array([0, 1, -1, 0]), np.array([0, 0, 1, 1]))
    write_held_out(tmp_path, held_out)
    read = read_held_out(tmp_path)
    assert read is not None
    np.testing.assert_array_equal(read.label_N, held_out.label_N)
    golden = Golden(
        np.zeros((2, 4, 4, 3), np.uint8), np.ones((2, 3), np.float32), np.ones((2, 5), np.float32)
    )
    write_golden(tmp_path, golden)
    np.testing.assert_array_equal(read_golden(tmp_path).inputs_NHWC3, golden.inputs_NHWC3)
