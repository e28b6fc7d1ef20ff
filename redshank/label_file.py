"""Labels in files: a CSV table, or a folder with a subfolder of images for each class.

Both are written for labelling and read back with what a person filled in. A table has the columns
`image_sha256` and `label`, others are read past. In a folder an image lies in the subfolder of its
class and is named by its digest; images that nobody has moved yet have no label.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import urllib.parse
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import InputError
from redshank.field_files import folder_name
from redshank.fieldstore import FieldImage
from redshank.files import publish_folder, rfc3339, sha256_bytes, write_atomic
from redshank.records import did_you_mean
from redshank.store.control_labels import UNCLEAR

COLUMNS = ("image_sha256", "label")
MORE_COLUMNS = ("domain", "received_at", "file")
DIGEST = re.compile(r"[0-9a-f]{64}")
UNCLEAR_FOLDER = "_nobody can tell"
"""Subfolder that stands for the label `?`."""
SHOWN = 5
"""Wrong lines that one message names."""


@dataclass(frozen=True)
class LabelFile:
    """What a file or folder says."""

    rows: tuple[tuple[str, str], ...]
    """(image sha256, label), each image once."""
    empty: int
    """Images without a label yet."""
    repeated: int
    """Lines that said again what an earlier one said."""
    digest: str
    """sha256 of the content, for the audit trail."""


def read_labels(path: Path) -> LabelFile:
    """Labels of a CSV file or of a folder.

    Raises:
        InputError: it is neither, holds no image, a digest is none, or an image has two labels.
        OSError: it cannot be read.
    """
    if path.is_dir():
        return _read_folder(path)
    return read_table(path.read_bytes(), source=str(path))


def read_table(data: bytes, *, source: str) -> LabelFile:
    """Labels of a CSV table.

    Raises:
        InputError: it is no UTF-8 CSV, a column is missing, it has no line, a digest is none, or
            an image has two labels.
    """
    try:
        table = csv.DictReader(data.decode("utf-8-sig").splitlines(), strict=True)
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise InputError(
                f"{source} has no column {missing[0]!r}",
                hint="The first line must name the columns: image_sha256,label",
            )
        found = [
            (*_cells(row, f"line {table.line_num}"), f"line {table.line_num}") for row in table
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} is not a CSV file in UTF-8: {error}") from error
    return _checked(found, source, sha256_bytes(data))


def check_classes(
    rows: Iterable[tuple[str, str]], classes: Collection[str], *, source: str, model: str
) -> None:
    """Refuse labels that a model has no class for.

    Raises:
        InputError: naming each of them, how often it comes, and the class that may be meant.
    """
    wrong = Counter(label for _, label in rows if label not in classes and label != UNCLEAR)
    if not wrong:
        return
    named = [
        f"{label!r} ({count} image{'s' if count > 1 else ''}{did_you_mean(label, classes)})"
        for label, count in sorted(wrong.items())[:SHOWN]
    ]
    more = f" and {len(wrong) - SHOWN} others" if len(wrong) > SHOWN else ""
    raise InputError(
        f"{source} has labels that are no class of the model {model!r}: {', '.join(named)}{more}. "
        "Nothing was imported",
        hint=f"Correct them, write {UNCLEAR} where nobody can tell, or say --other-classes: then "
        "such an image counts as answered wrongly.",
    )


def write_table(path: Path, images: Iterable[FieldImage]) -> None:
    """A table with an empty label for each image, in the given order."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*COLUMNS, *MORE_COLUMNS])
    for image in images:
        at = rfc3339(image.received_at)
        table.writerow([image.sha256, "", image.domain, at, image.path.absolute()])
    write_atomic(path, text.getvalue().encode())


def write_folder(path: Path, images: Iterable[FieldImage], classes: Sequence[str]) -> None:
    """A new folder with a copy of each image and an empty subfolder for each class.

    Raises:
        InputError: it exists and is not empty.
    """
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if path.exists():
        raise InputError(
            f"{path} exists already", hint="Name a new folder: labels in this one are not lost."
        )
    with publish_folder(path) as scratch:
        for name in [*map(folder_name, classes), UNCLEAR_FOLDER]:
            (scratch / name).mkdir(exist_ok=True)
        for image in images:
            with suppress(FileNotFoundError):  # deleted a moment ago
                shutil.copyfile(image.path, scratch / image.path.name)


def _read_folder(path: Path) -> LabelFile:
    found: list[tuple[str, str, str]] = []
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if not file.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        if len(inside.parts) > 2 or not DIGEST.fullmatch(file.stem):
            raise InputError(
                f"{inside} in {path} is no image that a queue wrote",
                hint="An image keeps its name, and lies in the subfolder of its class.",
            )
        folder = "" if len(inside.parts) == 1 else inside.parts[0]
        label = UNCLEAR if folder == UNCLEAR_FOLDER else urllib.parse.unquote(folder)
        found.append((file.stem, label, str(inside)))
    said = "\n".join(f"{digest} {label}" for digest, label, _ in found)
    return _checked(found, str(path), sha256_bytes(said.encode()))


def _checked(found: Sequence[tuple[str, str, str]], source: str, digest: str) -> LabelFile:
    """The same line twice does no harm; two labels for one image do."""
    first: dict[str, tuple[str, str]] = {}
    repeated = 0
    for image, label, place in found:
        if not label:
            continue
        before, at = first.setdefault(image, (label, place))
        repeated += (before, at) != (label, place)
        if before != label:
            raise InputError(
                f"{source}, {place}: image {image[:12]}... is {label!r} here "
                f"and {before!r} in {at}. Nothing was imported",
                hint="Keep one of the two.",
            )
    if not found:
        raise InputError(
            f"{source} names no image",
            hint="Give the table or folder that `redshank label queue` wrote.",
        )
    rows = tuple((image, label) for image, (label, _) in first.items())
    empty = len({image for image, _, _ in found} - first.keys())
    return LabelFile(rows, empty, repeated, digest)


def _cells(row: dict[str, str | None], source: str) -> tuple[str, str]:
    digest = (row["image_sha256"] or "").strip().lower()
    if not DIGEST.fullmatch(digest):
        raise InputError(
            f"{source}: {digest[:80]!r} is no sha256 digest (64 hex digits). Nothing was imported"
        )
    return digest, (row["label"] or "").strip()
