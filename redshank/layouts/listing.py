"""The listing: what a layout reader found, before anybody decides on splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import is_normalized, normalize

from redshank.dataset import Item
from redshank.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)


@dataclass(frozen=True)
class Listing:
    """Images with their domain and, where known, their class."""

    root: Path
    """Absolute; `Item.path` starts here."""
    classes: tuple[str, ...]
    """Union over all domains, sorted; a domain may lack some."""
    items: tuple[Item, ...]
    ignored: tuple[str, ...]
    """Files that are no image by their suffix, relative to root."""
    empty: tuple[str, ...] = ()
    """Domain folders without any image."""


def is_image(path: Path) -> bool:
    """Whether the name is an image's; the bytes are looked at by `redshank data check`."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def make_listing(
    root: Path, items: list[Item], ignored: Sequence[str] = (), empty: Sequence[str] = ()
) -> Listing:
    """Collect the classes and refuse an empty listing.

    Raises:
        InputError: there is no image.
    """
    if not items:
        raise InputError(
            f"{root} holds no image",
            hint="Expected ROOT/<domain>/<class>/<image>, or ROOT/<domain>/<image> without labels.",
        )
    items = [_composed(item) for item in items]
    classes = tuple(sorted({item.label for item in items if item.label}))
    return Listing(root, classes, tuple(items), tuple(sorted(ignored)), tuple(sorted(empty)))


def _composed(item: Item) -> Item:
    """Names in Unicode's composed form: macOS writes an accent on its own, others do not."""
    if is_normalized("NFC", item.domain + item.label):
        return item
    domain, label = normalize("NFC", item.domain), normalize("NFC", item.label)
    return dataclasses.replace(item, domain=domain, label=label)
