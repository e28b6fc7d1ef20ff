"""Every image of a manifest, decoded once into one file of uint8 that is mapped into memory."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from redshank.dataset import Manifest
from redshank.errors import ConflictError, InputError, StageError
from redshank.image_bytes import Location, read_bytes
from redshank.preprocess import ImageError, decode_image

Images: TypeAlias = npt.NDArray[np.uint8]
Mapped: TypeAlias = np.memmap[tuple[int, ...], np.dtype[np.uint8]]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (phase, done, total)."""

DECODING_THREADS = 4
FETCHING_THREADS = 32
"""Where images come by URI: they wait for the network."""
WAITING = 1024
"""Images handed to the threads at a time, so that a million of them is no million of futures."""


def load_images(manifest: Manifest, size: int, cache: Path, progress: Progress) -> Images:
    """Decodes all images to uint8 [N, size, size, 3], in the manifest's order.

    The pixels live in `cache` (a NumPy file, mapped), so data may be larger than memory; it takes
    3 * size * size bytes of disk an image. A cache of the same files (path, bytes, time of change)
    is used again; of images by URI only the address and the manifest's digest count.

    Raises:
        InputError: a file is missing or no image; names it.
        ConflictError: the cache, and so the checkpoints beside it, is of other files.
        StageError: the disk has no room for the cache.
    """
    with same_files(manifest, size, cache.with_suffix(".key")) as known:
        if not known:
            _decode_all(manifest, size, cache, progress)
    images_NHW3: Images = np.load(cache, mmap_mode="c")
    return images_NHW3


@contextmanager
def same_files(manifest: Manifest, size: int, stamp: Path) -> Iterator[bool]:
    """Says whether `stamp` is of these very files; where there is none, writes it on leaving.

    Raises:
        InputError: a file is missing; names it.
        ConflictError: it is of other files.
    """
    key, known = _cache_key(manifest, size), stamp.is_file()
    if known and stamp.read_text(encoding="utf-8") != key:
        raise ConflictError(
            "images changed since this training was interrupted",
            hint="Train without --resume.",
        )
    yield known
    if not known:
        stamp.write_text(key, encoding="utf-8")


def _decode_all(manifest: Manifest, size: int, cache: Path, progress: Progress) -> None:
    count = len(manifest.items)
    shape = (count, size, size, 3)
    images_NHW3 = _reserved(cache, shape)

    def decode(number: int) -> None:
        images_NHW3[number] = decode_file(manifest.image_location(manifest.items[number]), size)

    done = 0
    remote = any(isinstance(manifest.image_location(item), str) for item in manifest.items)
    with ThreadPoolExecutor(FETCHING_THREADS if remote else DECODING_THREADS) as pool:
        for start in range(0, count, WAITING):
            for _ in pool.map(decode, range(start, min(start + WAITING, count))):
                done += 1
                progress("decode", done, count)
    images_NHW3.flush()


def _reserved(cache: Path, shape: tuple[int, int, int, int]) -> Mapped:
    """Takes the disk space now: writing to a mapped file on a full disk kills the process."""
    try:
        images_NHW3: Mapped = np.lib.format.open_memmap(
            cache, mode="w+", dtype=np.uint8, shape=shape
        )
        with cache.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, cache.stat().st_size)
    except OSError as error:
        cache.unlink(missing_ok=True)
        raise StageError(
            f"{cache.parent}: {error.strerror}: {shape[0]} decoded images take "
            f"{math.prod(shape) / 1e6:.1f} MB until the training ends",
            hint="Free that much, give another folder with --out, or lower training.image_size.",
        ) from error
    return images_NHW3


def decode_file(place: Location, size: int) -> Images:
    """One image as uint8 [size, size, 3].

    Raises:
        InputError: it is missing or broken; names it.
    """
    try:
        return decode_image(read_bytes(place), size, size)
    except ImageError as error:
        raise InputError(
            f"{place}: {error.message}",
            hint="List broken images, or leave them out: redshank data check MANIFEST --out NEW",
        ) from error
    except OSError as error:
        raise InputError(
            f"{place}: {error.strerror}", hint="The manifest's root may have moved; scan it again."
        ) from error


def _cache_key(manifest: Manifest, size: int) -> str:
    digest = hashlib.sha256(f"size {size}".encode())
    for item in manifest.items:
        place = manifest.image_location(item)
        if isinstance(place, str):  # asking for each one's change would take hours
            digest.update(f"\n{place} {item.sha256}".encode())
            continue
        try:
            stat = place.stat()
        except OSError as error:
            raise InputError(
                f"{place}: {error.strerror}",
                hint="The manifest's root may have moved; scan it again.",
            ) from error
        digest.update(f"\n{place} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()
