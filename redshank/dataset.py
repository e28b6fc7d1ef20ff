"""The dataset manifest: one JSON line a image, behind a header line.

`manifest.jsonl` starts with a `Header` and goes on with `Item`s. `path` is relative to `root`,
which is relative to the folder of the manifest; both may be URIs (see `redshank.image_bytes`).
Manifests are immutable: a split, a snapshot of field images or another labelling is a new file.

Roles follow from the items alone: a *source* domain has labelled items in `train`, a *target*
domain only unlabelled ones, an *unseen* domain none.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from redshank.errors import InputError, SchemaError
from redshank.files import sha256_file, write_atomic
from redshank.image_bytes import Location, as_location, is_uri, join_location, read_bytes
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 1
Split = Literal["train", "val", "test"]
SPLITS: frozenset[str] = frozenset(get_args(Split))


@dataclass(frozen=True)
class Header:
    """First line of a manifest."""

    schema: int
    root: str
    """Where `path` starts: relative to the manifest's folder, absolute, or a URI."""
    classes: tuple[str, ...]
    """Class names in index order."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image."""

    path: str
    """Relative to the root, absolute, or a URI."""
    domain: str
    label: str = ""
    """Class name that training may use; empty when unlabelled."""
    split: Split = "train"
    sha256: str = ""
    """Digest of the original bytes; empty when nobody computed it."""
    captured_at: str | None = None
    """UTC RFC 3339, or None when unknown."""
    scene: str = ""
    """Near-duplicate frames share it: one unit of evidence. Empty: a scene of its own."""
    hidden_label: str = ""
    """True class kept for reports only (simulations, benchmarks); training never reads it."""


@dataclass(frozen=True)
class Manifest:
    """A read manifest. A local `root` is resolved; `items` keep the file's order."""

    classes: tuple[str, ...]
    root: Location
    items: tuple[Item, ...]

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """Every domain, sorted."""
        return tuple(sorted({item.domain for item in self.items}))

    @cached_property
    def source_domains(self) -> tuple[str, ...]:
        """Domains with labelled training images, sorted."""
        return tuple(
            sorted({item.domain for item in self.items if item.split == "train" and item.label})
        )

    @cached_property
    def target_domains(self) -> tuple[str, ...]:
        """Domains whose training images are all unlabelled, sorted."""
        seen = {item.domain for item in self.items if item.split == "train"}
        return tuple(sorted(seen - set(self.source_domains)))

    def class_index(self, label: str) -> int:
        """Index of a class name; -1 for the empty (unknown) label."""
        return self.classes.index(label) if label else -1

    def image_location(self, item: Item) -> Location:
        """Where the bytes of `item` are: a local path, or the text of a URI."""
        return join_location(self.root, item.path)

    def image_path(self, item: Item) -> Path:
        """Where the bytes of `item` are, on this machine.

        Raises:
            InputError: they are somewhere else.
        """
        location = self.image_location(item)
        if isinstance(location, str):
            raise InputError(f"{location} is no local file, which is needed here")
        return location

    def read_image(self, item: Item) -> bytes:
        """The bytes of `item`; raises as `redshank.image_bytes.read_bytes`."""
        return read_bytes(self.image_location(item))


def representative_items(manifest: Manifest) -> dict[str, tuple[Item, ...]]:
    """The images that stand for each domain where a trained network is asked about it.

    A domain's `val` items; without any, its unlabelled `train` items. Labelled training images
    never count: the network knows their answers by heart.
    """
    val: dict[str, list[Item]] = {domain: [] for domain in manifest.domains}
    unlabelled: dict[str, list[Item]] = {domain: [] for domain in val}
    for item in manifest.items:
        if item.split == "val":
            val[item.domain].append(item)
        elif item.split == "train" and not item.label:
            unlabelled[item.domain].append(item)
    return {domain: tuple(val[domain] or unlabelled[domain]) for domain in val}


def write_manifest(path: Path, *, root: str, classes: Iterable[str], items: Iterable[Item]) -> str:
    """Write a manifest atomically, item by item; returns its sha256 digest."""
    header = Header(SCHEMA, root, tuple(classes))
    write_atomic(path, _lines(header, items))
    return sha256_file(path)


def read_manifest(path: Path) -> Manifest:
    """Read a whole manifest, line by line, and check that every line fits.

    Raises:
        InputError: the file is missing, empty, or an item names an unknown class.
        SchemaError: a line has an unknown field or a wrong type.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:  # U+2028 may be in a file's name
            lines = enumerate(file, start=1)
            header = _header(next(lines, (1, ""))[1], path)
            items = tuple(_items(lines, path, header.classes))
    except FileNotFoundError as error:
        raise InputError(
            f"manifest {path} does not exist", hint="Make one: redshank data scan FOLDER"
        ) from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(
            f"{path} is not a manifest (JSON lines, UTF-8)",
            hint="Make one: redshank data scan FOLDER",
        ) from error
    return Manifest(header.classes, _resolve(path, header.root), items)


def _header(line: str, path: Path) -> Header:
    if not line.strip():
        raise InputError(f"manifest {path} is empty")
    values = _parse(line, path, 1)
    check_schema(values, current=SCHEMA, source=f"{path}, line 1")
    header = from_dict(Header, values, source=f"{path}, line 1")
    twice = [name for name, count in Counter(header.classes).items() if count > 1 or not name]
    if twice:  # a network would get an output that no label ever teaches
        raise InputError(f"{path}, line 1: class {twice[0]!r} is empty or listed twice")
    return header


def _items(
    lines: Iterable[tuple[int, str]], path: Path, classes: tuple[str, ...]
) -> Iterator[Item]:
    known = {"", *classes}
    for number, line in lines:
        if not line.strip():
            continue
        values = _parse(line, path, number)
        if _is_plain(values):
            item = _plain_item(values)
        else:
            item = from_dict(Item, values, source=f"{path}, line {number}")
        if item.label not in known or item.hidden_label not in known:
            label = item.label if item.label not in known else item.hidden_label
            raise InputError(
                f"{path}, line {number}: class {label!r} is not among the header's classes",
                hint=f"Known classes: {', '.join(classes)}.",
            )
        yield item


def _is_plain(values: Any) -> bool:
    """Whether the line is an item at first sight; `from_dict` finds out what is wrong else."""
    return (
        type(values) is dict
        and _FIELDS.issuperset(values)
        and "path" in values
        and "domain" in values
        and values.get("split", "train") in SPLITS
        and all(type(value) is str for value in values.values())
    )


def _plain_item(values: dict[str, Any]) -> Item:
    """An item whose few different names exist once: a million images share them."""
    for name in _SHARED:
        if name in values:
            values[name] = sys.intern(values[name])
    return Item(**values)


_FIELDS = frozenset(Item.__slots__)
_SHARED = ("domain", "label", "split", "hidden_label")


def _parse(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise SchemaError(
            f"{path}, line {number}: not JSON: {error}",
            hint="Not a manifest, or cut off; make one: redshank data scan FOLDER",
        ) from error


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _lines(header: Header, items: Iterable[Item]) -> Iterator[bytes]:
    yield _line(as_dict(header))
    for item in items:
        values = {name: getattr(item, name) for name in Item.__slots__}
        yield _line({name: value for name, value in values.items() if value})


def _line(values: dict[str, Any]) -> bytes:
    text = _encode(values) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # a file name of other bytes, which Python escapes so
        raise InputError(f"{text.strip()!r} is not UTF-8", hint="Rename the file.") from error


def _resolve(manifest: Path, root: str) -> Location:
    if is_uri(root):
        return as_location(root)
    return (manifest.parent / root).resolve()
