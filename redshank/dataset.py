"""The dataset manifest: one JSON line a image, behind a header line.

`manifest.jsonl` starts with a `Header` and goes on with `Item`s. `path` is relative to `root`,
which is relative to the folder of the manifest. Manifests are immutable: a split, a
snapshot of field images or another labelling is a new file.

Roles follow from the items alone: a *source* domain has labelled items in `train`, a *target*
domain only unlabelled ones, an *unseen* domain none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from redshank.errors import InputError, SchemaError
from redshank.files import sha256_file, write_atomic
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 1
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Header:
    """First line of a manifest."""

    schema: int
    root: str
    """Where `path` starts: relative to the manifest's folder, or absolute."""
    classes: tuple[str, ...]
    """Class names in index order."""


@dataclass(frozen=True)
class Item:
    """One image."""

    path: str
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
    """A read manifest. `root` is resolved; `items` keep the file's order."""

    classes: tuple[str, ...]
    root: Path
    items: tuple[Item, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """Every domain, sorted."""
        return tuple(sorted({item.domain for item in self.items}))

    @property
    def source_domains(self) -> tuple[str, ...]:
        """Domains with labelled training images, sorted."""
        return tuple(
            sorted({item.domain for item in self.items if item.split == "train" and item.label})
        )

    @property
    def target_domains(self) -> tuple[str, ...]:
        """Domains whose training images are all unlabelled, sorted."""
        seen = {item.domain for item in self.items if item.split == "train"}
        return tuple(sorted(seen - set(self.source_domains)))

    def class_index(self, label: str) -> int:
        """Index of a class name; -1 for the empty (unknown) label."""
        return self.classes.index(label) if label else -1

    def image_path(self, item: Item) -> Path:
        """Where the bytes of `item` are."""
        return self.root / item.path


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
    """Write a manifest atomically; returns its sha256 digest."""
    header = Header(SCHEMA, root, tuple(classes))
    lines = [_line(header), *(_line(item) for item in items)]
    write_atomic(path, b"".join(lines))
    return sha256_file(path)


def read_manifest(path: Path) -> Manifest:
    """Read a whole manifest and check that every line fits.

    Raises:
        InputError: the file is missing, empty, or an item names an unknown class.
        SchemaError: a line has an unknown field or a wrong type.
    """
    header, items = _open(path)
    known = set(header.classes)
    checked = []
    for number, item in enumerate(items, start=2):
        for label in (item.label, item.hidden_label):
            if label and label not in known:
                raise InputError(
                    f"{path}, line {number}: class {label!r} is not among the header's classes",
                    hint=f"Known classes: {', '.join(header.classes)}.",
                )
        checked.append(item)
    return Manifest(header.classes, _resolve(path, header.root), tuple(checked))


def _open(path: Path) -> tuple[Header, Iterator[Item]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # U+2028 may be in a file's name
    except FileNotFoundError as error:
        raise InputError(
            f"manifest {path} does not exist", hint="Make one: redshank data scan FOLDER"
        ) from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(
            f"{path} is not a manifest (JSON lines, UTF-8)",
            hint="Make one: redshank data scan FOLDER",
        ) from error
    if not lines[0].strip():
        raise InputError(f"manifest {path} is empty")
    values = _parse(lines[0], path, 1)
    check_schema(values, current=SCHEMA, source=f"{path}, line 1")
    header = from_dict(Header, values, source=f"{path}, line 1")
    return header, (
        from_dict(Item, _parse(line, path, number), source=f"{path}, line {number}")
        for number, line in enumerate(lines[1:], start=2)
        if line.strip()
    )


def _parse(line: str, path: Path, number: int) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        raise SchemaError(f"{path}, line {number}: not JSON: {error}") from error


def _line(record: Header | Item) -> bytes:
    values = as_dict(record)
    if isinstance(record, Item):
        values = {k: v for k, v in values.items() if v not in ("", None)}
    text = json.dumps(values, ensure_ascii=False) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # a file name of other bytes, which Python escapes so
        raise InputError(f"{text.strip()!r} is not UTF-8", hint="Rename the file.") from error


def _resolve(manifest: Path, root: str) -> Path:
    return (manifest.parent / root).resolve()
