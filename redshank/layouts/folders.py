"""Folder layouts: the folder's name is the class, its parent's name the domain.

    root/<domain>/<class>/<image>                    labelled
    root/<domain>/{train,val,test}/<class>/<image>   labelled, with a split of its own
    root/<domain>/<image>                            unlabelled: a field site

Domains may differ in form, and in the classes they have. Split folders are also read under the
names that public benchmarks use (`crossval`, `valid`, ...); beside them a folder `full` holds the
same images once more and is passed over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from redshank.dataset import Item, Split
from redshank.errors import InputError
from redshank.image_bytes import Location, join_location
from redshank.layouts.listing import Listing, is_image, make_listing
from redshank.layouts.tree import Fault, Tree, child, list_tree

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
ALL_AGAIN = "full"
"""The union of the split folders, in one form of VLCS."""


@dataclass
class DomainFiles:
    """What one domain's folder holds."""

    items: list[Item] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan_folder(root: Location) -> Listing:
    """List the images of a folder, in sorted order; see `scan_tree`."""
    return scan_tree(list_tree(root))


def scan_tree(tree: Tree) -> Listing:
    """List the images of a tree of the general layout, in sorted order.

    Raises:
        InputError: it holds no image, or images where the layout has none.
    """
    domains = tree.folders()
    if domains and all(_is_split(name) for name in domains):
        raise InputError(
            f"{tree.root} holds {', '.join(domains)}: splits, not domains",
            hint="Put them into a folder of their domain: ROOT/<domain>/train/<class>/<image>.",
        )
    return list_domains(tree, domains, layout="folders")


def list_domains(
    tree: Tree,
    domains: Iterable[str],
    *,
    layout: str,
    class_name: Callable[[str], str] = str,
    notes: Iterable[str] = (),
) -> Listing:
    """List these domain folders of a tree.

    Args:
        tree: where the domains lie.
        domains: names of folders at its root.
        layout: what the listing shall be called.
        class_name: a class folder's name to the class.
        notes: carried into the listing.
    """
    found = {domain: scan_domain(tree, domain, class_name) for domain in domains}
    return make_listing(
        tree.root,
        (item for one in found.values() for item in one.items),
        ignored=[*(path for one in found.values() for path in one.ignored), *tree.files()],
        empty=[domain for domain, one in found.items() if not one.items],
        faults=[*tree.faults, *(fault for one in found.values() for fault in one.faults)],
        layout=layout,
        notes=[*notes, *(note for one in found.values() for note in one.notes)],
    )


def scan_domain(tree: Tree, domain: str, class_name: Callable[[str], str] = str) -> DomainFiles:
    """The images of one domain, its split folders understood.

    Raises:
        InputError: an image lies deeper than its class's folder.
    """
    found = DomainFiles()
    inner = tree.folders(domain)
    splits = [name for name in inner if _is_split(name)]
    parts: list[tuple[str, Split]] = [(domain, "train")]
    if splits and set(inner) - set(splits) <= {ALL_AGAIN}:
        parts = [(child(domain, name), SPLIT_FOLDERS[name.lower()]) for name in splits]
        if len(inner) > len(splits):
            found.notes.append(f"{domain}/{ALL_AGAIN} holds the same images again: passed over")
    for name in tree.files(domain):
        _take(found, Item(child(domain, name), domain))
    for folder, split in parts:
        for name in tree.folders(folder):
            path = child(folder, name)
            if is_image(name) and not tree.files(path):
                found.faults.append(Fault(path, "is a folder"))
                continue
            found.faults += _refuse_deeper_images(tree, path)
            label = sys.intern(class_name(name))
            for file in tree.files(path):
                _take(found, Item(child(path, file), domain, label, split))
    return found


def _take(found: DomainFiles, item: Item) -> None:
    if is_image(item.path):
        found.items.append(item)
    else:
        found.ignored.append(item.path)


def _is_split(name: str) -> bool:
    return name.lower() in SPLIT_FOLDERS


def _refuse_deeper_images(tree: Tree, class_folder: str) -> list[Fault]:
    """Images below a class folder would be lost without a word; folders named like one are."""
    faults = []
    for name in tree.folders(class_folder):
        path = child(class_folder, name)
        if is_image(name):
            faults.append(Fault(path, "is a folder"))
        deep = next((p for p in tree.below(path) if is_image(p)), None)
        if deep is not None:
            raise InputError(
                f"{join_location(tree.root, deep)} lies deeper than ROOT/<domain>/<class>/<image>",
                hint="Move images up into their class's folder, or list them in a table.",
            )
    return faults
