"""Lists of images by split that come with public benchmarks: lines of `path label`.

PACS has `splits/<domain>_{train,crossval,test}_kfold.txt`, DomainNet `<domain>_{train,test}.txt`.
Labels count from one or from zero, and known copies hold wrong ones: the class is the folder's
name, whatever the list says. `test` lists of PACS name whole domains: `train` and `crossval` win.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from redshank.dataset import Item, Split
from redshank.errors import InputError
from redshank.layouts.listing import Listing
from redshank.layouts.tree import Tree, child

_NAME = re.compile(r"^(?P<domain>.+)_(?P<split>train|crossval|val|test)(_kfold)?\.txt$")
_SPLITS: dict[str, Split] = {"train": "train", "crossval": "val", "val": "val", "test": "test"}
_ORDER = ("train", "crossval", "val", "test")
"""The first list that names an image wins."""
FOLDERS = ("", "splits", "split", "kfold")


@dataclass(frozen=True)
class SplitList:
    """One list file."""

    path: str
    """Relative to the tree's root."""
    split: str
    """Its name for the split."""


def find_split_lists(tree: Tree, base: str) -> tuple[SplitList, ...]:
    """List files of the domains in folder `base`: there, beside it, or in `splits/`."""
    domains = set(tree.folders(base))
    around = {base, base.rpartition("/")[0], ""}
    found = [
        SplitList(child(folder, name), match["split"])
        for folder in sorted({child(one, two) if two else one for one in around for two in FOLDERS})
        for name in tree.files(folder)
        if (match := _NAME.match(name)) and match["domain"] in domains
    ]
    return tuple(sorted(found, key=lambda one: (_ORDER.index(one.split), one.path)))


def apply_split_lists(listing: Listing, tree: Tree, lists: Sequence[SplitList]) -> Listing:
    """Give each image the split of the first list that names it; leave out images in no list.

    Raises:
        InputError: a line is not `path label`, or no image of the listing is in any list.
    """
    splits: dict[str, Split] = {}
    numbers: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in lists:
        for path, number in _lines(tree, one):
            splits.setdefault(path, _SPLITS[one.split])
            numbers[path].append((number, one.path))
    items = tuple(
        dataclasses.replace(item, split=splits[item.path])
        for item in listing.items
        if item.path in splits
    )
    if not items:
        raise InputError(
            f"{lists[0].path} and its like list none of the images below {listing.root}",
            hint="Their lines start at the folder of the domains: photo/dog/1.jpg 1.",
        )
    there = {item.path for item in listing.items}
    notes = [
        f"splits are those of {len(lists)} lists like {lists[0].path}",
        *_wrong_numbers(items, numbers),
        *_unmatched("images are in no list and were left out", sorted(there - splits.keys())),
        *_unmatched("listed images are not there", sorted(splits.keys() - there)),
    ]
    return dataclasses.replace(
        listing,
        classes=tuple(sorted({item.label for item in items if item.label})),
        items=items,
        notes=(*listing.notes, *notes),
    )


def _lines(tree: Tree, one: SplitList) -> Iterator[tuple[str, str]]:
    for line_number, line in enumerate(tree.read_text(one.path).splitlines(), start=1):
        if not line.strip():
            continue
        path, _, number = line.strip().rpartition(" ")
        if not path or not number.isdigit():
            raise InputError(
                f"{one.path}, line {line_number}: {line.strip()[:60]!r} is not `path label`",
                hint="Repair the line, or move the list away.",
            )
        yield path.strip().removeprefix("./"), sys.intern(number)


def _wrong_numbers(items: Iterable[Item], numbers: dict[str, list[tuple[str, str]]]) -> list[str]:
    """Labels that differ from what the lists say of most images of the same class."""
    by_class: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        by_class[item.label].update(number for number, _ in numbers[item.path])
    usual = {label: counts.most_common(1)[0][0] for label, counts in by_class.items()}
    wrong = [
        f"{path} says {number} for {item.path}"
        for item in items
        for number, path in numbers[item.path]
        if number != usual[item.label]
    ]
    if not wrong:
        return []
    return [f"{len(wrong)} listed labels are wrong, the folder's name was taken: {wrong[0]}"]


def _unmatched(text: str, paths: list[str]) -> list[str]:
    return [f"{len(paths)} {text}, like {paths[0]}"] if paths else []
