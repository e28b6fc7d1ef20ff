"""ImageNet-R: imagenet-r/<wnid>/<style>_<n>.jpg, where the style is the domain.

The style is the file's name up to its last `_`. Files at the root (a README) are no class.
Hendrycks et al., "The Many Faces of Robustness", ICCV 2021.
"""

from __future__ import annotations

import re
import sys

from redshank.dataset import Item
from redshank.errors import InputError
from redshank.layouts.listing import Listing, is_image, make_listing
from redshank.layouts.tree import Tree, child

STYLES = frozenset(
    (
        *("art", "cartoon", "deviantart", "embroidery", "graffiti", "graphic", "misc", "origami"),
        *("painting", "sculpture", "sketch", "sticker", "tattoo", "toy", "videogame"),
    )
)
_WNID = re.compile(r"^n\d{8}$")


def recognise_imagenet_r(tree: Tree) -> bool:
    """Whether all class folders are WordNet ids and every image's style is a known one."""
    path = _base(tree)
    folders = tree.folders(path)
    names = [name for folder in folders for name in tree.files(child(path, folder))]
    images = [name for name in names if is_image(name)]
    return bool(
        images
        and all(_WNID.match(folder) for folder in folders)
        and all(_style(name) in STYLES for name in images)
    )


def read_imagenet_r(tree: Tree) -> Listing:
    """List all images, class by class.

    Raises:
        InputError: there is no class folder, or an image's name has no style.
    """
    tree = tree.within(_base(tree))
    classes = [name for name in tree.folders() if _WNID.match(name)]
    if not classes:
        raise InputError(
            f"{tree.root} is not imagenet-r: no folder is a WordNet id like n01443537",
            hint="Expected ROOT/<wnid>/<style>_<n>.jpg.",
        )
    items: list[Item] = []
    ignored = list(tree.files())
    for folder in classes:
        for name in tree.files(folder):
            path, style = child(folder, name), _style(name)
            if not is_image(name):
                ignored.append(path)
                continue
            if not style:
                raise InputError(
                    f"{path}: the name has no style", hint="Expected <style>_<n>, like art_12.jpg."
                )
            items.append(Item(path, sys.intern(style), folder))
    other = [name for name in tree.folders() if name not in classes]
    notes = [f"folder {name} is no WordNet id: passed over" for name in other]
    unknown = sorted({item.domain for item in items} - STYLES)
    if unknown:
        notes.append(f"not among ImageNet-R's styles, domains all the same: {', '.join(unknown)}")
    return make_listing(
        tree.root, items, ignored=ignored, faults=tree.faults, layout="imagenet-r", notes=notes
    )


def _base(tree: Tree) -> str:
    """The root, or its only folder where that is no class."""
    folders = tree.folders()
    return folders[0] if len(folders) == 1 and not _WNID.match(folders[0]) else ""


def _style(name: str) -> str:
    return name.rpartition("_")[0].lower()
