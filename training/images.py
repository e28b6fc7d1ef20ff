"""Every image of a manifest, decoded once into one file of uint8 that is mapped into memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from redshank.dataset import Manifest
from redshank.errors import InputError
from redshank.files import sha256_bytes
from redshank.preprocess import ImageError, decode_image

Images: TypeAlias = npt.NDArray[np.uint8]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (phase, done, total)."""

DECODING_THREADS = 4


def load_images(manifest: Manifest, size: int, cache: Path, progress: Progress) -> Images:
    """Decodes all images to uint8 [N, size, size, 3], in the manifest's order.

    The pixels live in `cache` (a NumPy file, mapped), so data may be larger than memory. A cache of
    the same files (path, bytes, time of change) is used again.

    Raises:
        InputError: a file is missing or no image; names it.
    """
    stamp = cache.with_suffix(".key")
    key = _cache_key(manifest, size)
    if not (cache.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == key):
        stamp.unlink(missing_ok=True)
        _decode_all(manifest, size, cache, progress)
        stamp.write_text(key, encoding="utf-8")
    images_NHW3: Images = np.load(cache, mmap_mode="c")
    return images_NHW3


def _decode_all(manifest: Manifest, size: int, cache: Path, progress: Progress) -> None:
    count = len(manifest.items)
    shape = (count, size, size, 3)
    images_NHW3 = np.lib.format.open_memmap(cache, mode="w+", dtype=np.uint8, shape=shape)

    def decode(number: int) -> None:
        images_NHW3[number] = _decode(manifest.image_path(manifest.items[number]), size)

    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        for done, _ in enumerate(pool.map(decode, range(count)), start=1):
            progress("decode", done, count)
    images_NHW3.flush()


def _decode(path: Path, size: int) -> Images:
    try:
        return decode_image(path.read_bytes(), size, size)
    except ImageError as error:
        raise InputError(
            f"{path}: {error.message}",
            hint="List broken images, or leave them out: redshank data check MANIFEST --out NEW",
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}", hint="The manifest's root may have moved; scan it again."
        ) from error


def _cache_key(manifest: Manifest, size: int) -> str:
    lines = [f"size {size}"]
    for item in manifest.items:
        path = manifest.image_path(item)
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(
                f"{path}: {error.strerror}",
                hint="The manifest's root may have moved; scan it again.",
            ) from error
        lines.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    return sha256_bytes("\n".join(lines).encode())
