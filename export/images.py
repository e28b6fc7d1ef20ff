"""Which images export looks at, and their pixels: see `redshank.dataset.representative_items`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from redshank.dataset import Item, Manifest, representative_items
from redshank.errors import InputError
from redshank.image_bytes import read_bytes
from redshank.preprocess import decode_image

Pixels = npt.NDArray[np.uint8]


def held_items(manifest: Manifest, domain: str, *, limit: int, seed: int = 0) -> tuple[Item, ...]:
    """At most `limit` items that represent a domain, drawn without replacement by the seed."""
    chosen = representative_items(manifest)[domain]
    if len(chosen) <= limit:
        return chosen
    drawn = np.random.default_rng(seed).choice(len(chosen), size=limit, replace=False)
    return tuple(chosen[i] for i in sorted(drawn))


def scene_weights(items: Sequence[Item]) -> npt.NDArray[np.float64]:
    """1 / (images of the item's scene), so that near-duplicate frames count once together."""
    names = [scene_name(item, number) for number, item in enumerate(items)]
    _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[inverse], dtype=np.float64)


def scene_name(item: Item, number: int) -> str:
    """The item's scene; without one, a name of its own."""
    return f"{item.domain}/{item.scene}" if item.scene else f"#{number}"


def pixel_chunks(
    manifest: Manifest, items: Iterable[Item], *, height: int, width: int, size: int = 64
) -> Iterator[Pixels]:
    """Decoded images, uint8 [up to `size`, height, width, 3] at a time, in order.

    Raises:
        InputError: an image is missing or damaged; names the file.
    """
    chunk: list[Pixels] = []
    for item in items:
        chunk.append(_pixels(manifest, item, height, width))
        if len(chunk) == size:
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)


def _pixels(manifest: Manifest, item: Item, height: int, width: int) -> Pixels:
    place = manifest.image_location(item)
    try:
        return decode_image(read_bytes(place), height, width)
    except FileNotFoundError as error:
        raise InputError(
            f"image {place} of the run's manifest is missing",
            hint="Put the data set back where it was in training, or train again.",
        ) from error
    except InputError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from error
