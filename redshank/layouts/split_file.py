"""Split files: who is trained on, with which labels, so that two people train on the same ones.

JSON lines, sorted by path. The first is a header

    {"schema": 1, "kind": "redshank split", "images": 2, "sha256": "..."}

and every other line one image, its class known or empty, and whether training may use it:

    {"path": "photo/dog/1.jpg", "domain": "photo", "class": "dog", "split": "val", "labelled": true}

`sha256` is that of all images' facts in order of their path, whatever the JSON looks like: two
files with the same digest say the same. One written by hand may leave `images` and `sha256` out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

from redshank.dataset import Item, Split
from redshank.errors import InputError, IntegrityError, SchemaError
from redshank.files import write_atomic
from redshank.records import check_schema, from_dict

SCHEMA = 1
KIND = "redshank split"
SHOWN = 3
"""Misfits named of each sort."""


@dataclass(frozen=True)
class SplitHeader:
    """First line of a split file."""

    schema: int
    kind: str
    images: int | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a split file says of one image."""

    path: str
    domain: str
    split: Split
    label: str
    """Its class; empty when nobody knows it."""
    labelled: bool
    """Whether training may use the class."""


@dataclass(frozen=True)
class SplitFile:
    """All choices by their path, in composed Unicode."""

    choices: dict[str, Choice]
    sha256: str


def split_of(items: Iterable[Item]) -> SplitFile:
    """The split that a manifest's items have.

    Raises:
        InputError: a path is there twice.
    """
    choices: dict[str, Choice] = {}
    for item in items:
        label = item.label or item.hidden_label
        choice = Choice(_key(item.path), item.domain, item.split, label, bool(item.label))
        if choices.setdefault(choice.path, choice) is not choice:
            raise InputError(f"{item.path} is in the data twice", hint="Scan the folder again.")
    return SplitFile(choices, _digest(choices))


def write_split(path: Path, items: Iterable[Item]) -> str:
    """Write the split of these items; returns its digest."""
    split = split_of(items)
    header = {
        "schema": SCHEMA,
        "kind": KIND,
        "images": len(split.choices),
        "sha256": split.sha256,
    }
    ordered = (_line(_values(split.choices[key])) for key in sorted(split.choices))
    write_atomic(path, (line for part in ([_line(header)], ordered) for line in part))
    return split.sha256


def read_split(path: Path) -> SplitFile:
    """Read a split file.

    Raises:
        InputError: it is missing, no split file, or names an image twice.
        SchemaError: a line has an unknown or missing field.
        IntegrityError: it is not what its header says.
    """
    choices: dict[str, Choice] = {}
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = enumerate(file, start=1)
            header = _header(path, next(lines, (1, ""))[1])
            for number, line in lines:
                if not line.strip():
                    continue
                choice = _choice(path, number, line)
                if choices.setdefault(choice.path, choice) is not choice:
                    raise InputError(f"{path}, line {number}: {choice.path} is there twice")
    except FileNotFoundError as error:
        raise InputError(
            f"split {path} does not exist", hint="Make one: redshank data scan ... --save-split"
        ) from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path} is not a split file (JSON lines, UTF-8)") from error
    split = SplitFile(choices, _digest(choices))
    if header.images not in (None, len(choices)) or header.sha256 not in ("", split.sha256):
        raise IntegrityError(
            f"{path} has {len(choices)} images with digest {split.sha256[:12]}..., its header says "
            f"{header.images} with {header.sha256[:12]}...",
            hint="It was cut off or changed. After a wanted change take both out of the header.",
        )
    return split


def apply_split(items: Sequence[Item], split: SplitFile, *, source: str) -> tuple[Item, ...]:
    """Give every item the split's choice; a label that training may not use becomes hidden.

    Raises:
        InputError: the split does not fit these images exactly; names the first misfits.
    """
    misfits: dict[str, list[str]] = {
        "images of the data are not in it": [],
        "images that it names are not in the data": [],
        "images have another domain": [],
        "images have another class": [],
    }
    absent, unknown, domains, classes = misfits.values()
    chosen, seen = [], set()
    for item in items:
        key = _key(item.path)
        seen.add(key)
        choice = split.choices.get(key)
        label = item.label or item.hidden_label
        if choice is None:
            absent.append(item.path)
        elif choice.domain != item.domain:
            domains.append(f"{item.path} ({item.domain}, expected {choice.domain})")
        elif label != choice.label and (label or choice.labelled):
            classes.append(f"{item.path} ({label or 'none'}, expected {choice.label or 'none'})")
        else:
            chosen.append(_chosen(item, choice, label))
    unknown += sorted(split.choices.keys() - seen)
    wrong = [_say(text, paths) for text, paths in misfits.items() if paths]
    if wrong:
        raise InputError(
            f"split {source} does not fit the data: {'; '.join(wrong)}",
            hint="Is it of this data set and version, read with the same --layout?",
        )
    return tuple(chosen)


def _chosen(item: Item, choice: Choice, label: str) -> Item:
    return dataclasses.replace(
        item,
        split=choice.split,
        label=label if choice.labelled else "",
        hidden_label="" if choice.labelled else label,
    )


def _say(text: str, paths: list[str]) -> str:
    shown = ", ".join(paths[:SHOWN])
    return f"{len(paths)} {text}, like {shown}" if len(paths) > SHOWN else f"{text}: {shown}"


def _key(path: str) -> str:
    """Paths in Unicode's composed form: macOS writes an accent on its own, others do not."""
    return path if path.isascii() else normalize("NFC", path)


def _values(choice: Choice) -> dict[str, Any]:
    return {
        "path": choice.path,
        "domain": choice.domain,
        "class": choice.label,
        "split": choice.split,
        "labelled": choice.labelled,
    }


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _line(values: dict[str, Any]) -> bytes:
    return (_encode(values) + "\n").encode()


def _digest(choices: dict[str, Choice]) -> str:
    digest = hashlib.sha256()
    for key in sorted(choices):
        digest.update(_line(_values(choices[key])))
    return digest.hexdigest()


def _header(path: Path, line: str) -> SplitHeader:
    values = _parse(path, 1, line or "null")
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise InputError(
            f"{path} is not a split file: its first line is not a header of kind {KIND!r}",
            hint="Make one: redshank data scan ... --save-split FILE",
        )
    check_schema(values, current=SCHEMA, source=f"{path}, line 1")
    return from_dict(SplitHeader, values, source=f"{path}, line 1")


def _choice(path: Path, number: int, line: str) -> Choice:
    source = f"{path}, line {number}"
    values = _parse(path, number, line)
    if isinstance(values, dict) and "class" in values:
        values["label"] = values.pop("class")
    if isinstance(values, dict) and all(type(values.get(name)) is str for name in _TEXTS):
        for name in _SHARED:
            values[name] = sys.intern(values[name])
        values["path"] = _key(values["path"])
    choice = from_dict(Choice, values, source=source)
    if choice.labelled and not choice.label:
        raise SchemaError(f"{source}: {choice.path} is labelled, but has no class")
    return choice


_SHARED = ("domain", "split", "label")
"""Few different names: a million choices share them."""
_TEXTS = ("path", *_SHARED)


def _parse(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise SchemaError(f"{path}, line {number}: not JSON: {error}") from error
