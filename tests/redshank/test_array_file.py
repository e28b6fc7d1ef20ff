from pathlib import Path

import numpy as np
import pytest

from redshank.array_file import read_arrays
from redshank.errors import IntegrityError


def test_arrays_come_back_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.arange(3), b=np.eye(2, dtype=np.float32))
    found = read_arrays(path)
    assert sorted(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], np.eye(2))


def test_cut_replaced_and_missing_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(IntegrityError, match="is missing"):
        read_arrays(path)
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=(50, 50)))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    single = tmp_path / "one.npy"
    np.save(single, np.eye(2))
    objects = tmp_path / "objects.npz"
    np.savez(objects, a=np.array([{}], dtype=object))
    for data in (
        *(whole[: len(whole) // 2], b"", b"\x80junk", b"PK\x03\x04", bytes(flipped)),
        *(single.read_bytes(), objects.read_bytes()),
    ):
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match="is no file of arrays"):
            read_arrays(path)
