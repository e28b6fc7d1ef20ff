"""Folder layouts: the folder's name is the class, its parent's name the domain.

    root/<domain>/<class>/<image>                    labelled
    root/<domain>/{train,val,test}/<class>/<image>   labelled, with a split of its own
    root/<domain>/<image>                            unlabelled: a field site

Domains may differ in form, and in the classes they have. Split folders are also read under the
names that public benchmarks use (`crossval`, `valid`, ...).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from redshank.dataset import Item, Split
from redshank.errors import InputError
from redshank.layouts.listing import Listing, is_image, make_listing

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "crossval": "val",
    "test": "test",
    "testing": "test",
}


def scan_folder(root: Path) -> Listing:
    """List the images of a folder, in sorted order.

    Raises:
        InputError: it is no folder, holds no image, or images where the layout has none.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder")
    root = root.resolve()
    domains = _folders(root)
    if domains and all(folder.name.lower() in SPLIT_FOLDERS for folder in domains):
        raise InputError(
            f"{root} holds {', '.join(folder.name for folder in domains)}: splits, not domains",
            hint="Put them into a folder of their domain: ROOT/<domain>/train/<class>/<image>.",
        )
    items: list[Item] = []
    ignored: list[str] = []
    empty: list[str] = []
    for domain in domains:
        found, other = _scan_domain(domain)
        empty += [] if found else [domain.name]
        items += [_relative(item, root) for item in found]
        ignored += [path.relative_to(root).as_posix() for path in other]
    ignored += [path.name for path in _files(root)]
    return make_listing(root, items, ignored, empty)


def _scan_domain(domain: Path) -> tuple[list[Item], list[Path]]:
    inner = _folders(domain)
    if inner and all(folder.name.lower() in SPLIT_FOLDERS for folder in inner):
        parts = [(SPLIT_FOLDERS[folder.name.lower()], _folders(folder)) for folder in inner]
    else:
        parts = [("train", inner)]
    items: list[Item] = []
    ignored: list[Path] = []
    for path in _files(domain):
        if is_image(path):
            items.append(Item(str(path), domain.name))
        else:
            ignored.append(path)
    for split, classes in parts:
        for folder in classes:
            _refuse_deeper_images(folder)
            for path in _files(folder):
                if is_image(path):
                    items.append(Item(str(path), domain.name, folder.name, split))
                else:
                    ignored.append(path)
    return items, ignored


def _refuse_deeper_images(class_folder: Path) -> None:
    """Images below a class folder would be lost without a word."""
    for folder in _folders(class_folder):
        deep = next((path for path in sorted(folder.rglob("*")) if is_image(path)), None)
        if deep is not None:
            raise InputError(
                f"{deep} lies deeper than ROOT/<domain>/<class>/<image>",
                hint="Move images up into their class's folder, or list them in a CSV table.",
            )


def _relative(item: Item, root: Path) -> Item:
    return dataclasses.replace(item, path=Path(item.path).relative_to(root).as_posix())


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_file() and not p.name.startswith("."))
