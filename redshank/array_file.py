"""Reading `.npz` files that anybody may have cut or replaced."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.errors import IntegrityError


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an `.npz` file by name.

    Raises:
        IntegrityError: the file is missing, damaged, or holds anything but arrays of numbers.
    """
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if isinstance(arrays, np.ndarray):
                raise ValueError("it holds a single array")
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise IntegrityError(
            f"{path} is no file of arrays: {error}",
            hint="It was cut or replaced: copy it again, or make it again from its source.",
        ) from error
