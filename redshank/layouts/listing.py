"""The listing: what a layout reader found, before anybody decides on splits."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from unicodedata import is_normalized, normalize

from redshank.dataset import Item
from redshank.errors import InputError
from redshank.image_bytes import Location
from redshank.layouts.tree import Fault

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)


@dataclass(frozen=True)
class Listing:
    """Images with their domain and, where known, their class."""

    root: Location
    """Absolute; `Item.path` starts here."""
    classes: tuple[str, ...]
    """Union over all domains, sorted; a domain may lack some."""
    items: tuple[Item, ...]
    ignored: tuple[str, ...]
    """Files that are no image by their suffix, relative to root."""
    empty: tuple[str, ...] = ()
    """Domain folders without any image."""
    faults: tuple[Fault, ...] = ()
    """Names that look like files and cannot be read; they are no items."""
    layout: str = "folders"
    """What the reader took it for."""
    notes: tuple[str, ...] = ()
    """What the reader left out or decided, for the user."""


def is_image(name: str) -> bool:
    """Whether the name is an image's; the bytes are looked at by `redshank data check`."""
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def make_listing(
    root: Location,
    items: Iterable[Item],
    *,
    ignored: Sequence[str] = (),
    empty: Sequence[str] = (),
    faults: Sequence[Fault] = (),
    layout: str = "folders",
    notes: Sequence[str] = (),
) -> Listing:
    """Collect the classes and refuse an empty listing.

    Raises:
        InputError: there is no image.
    """
    items = tuple(_composed(item) for item in items)
    if not items:
        flat = [path for path in ignored if is_image(path) and "/" not in path]
        if flat:
            raise InputError(
                f"{root} holds {len(flat)} images, like {min(flat)}, but no domain folder",
                hint="For one domain without labels give the folder above it: its name is the "
                "domain.",
            )
        raise InputError(
            f"{root} holds no image",
            hint="Expected ROOT/<domain>/<class>/<image>, or ROOT/<domain>/<image> without labels.",
        )
    classes = tuple(sorted({item.label for item in items if item.label}))
    return Listing(
        root=root,
        classes=classes,
        items=items,
        ignored=tuple(sorted(ignored)),
        empty=tuple(sorted(empty)),
        faults=tuple(faults),
        layout=layout,
        notes=tuple(notes),
    )


def _composed(item: Item) -> Item:
    """Names in Unicode's composed form: macOS writes an accent on its own, others do not."""
    if is_normalized("NFC", item.domain) and is_normalized("NFC", item.label):
        return item
    domain, label = normalize("NFC", item.domain), normalize("NFC", item.label)
    return dataclasses.replace(item, domain=domain, label=label)
