"""Table layouts: a CSV, or JSON lines, with one image a row.

Columns: `path` (relative to the table's folder, or absolute) and `domain`; optional are `label`
(or `class`; empty means unlabelled), `split` (train, val or test) and `captured_at`. Others are
refused by name, so that a typing error never turns labels into nothing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from redshank.dataset import Item, Split
from redshank.errors import InputError
from redshank.layouts.listing import Listing, make_listing
from redshank.records import did_you_mean

TABLE_SUFFIXES = (".csv", ".jsonl", ".ndjson")
COLUMNS = ("path", "domain", "label", "class", "split", "captured_at")


def read_table(path: Path) -> Listing:
    """Read a table of images.

    Raises:
        InputError: a column is unknown or missing, a split has another name, a row is empty, an
            image is listed twice, or the file is no table.
    """
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    lines: dict[str, int] = {}
    items = []
    try:
        for number, values in rows:
            item = _item(values, f"{path}, line {number}")
            first = lines.setdefault(item.path, number)
            if first != number:
                raise InputError(f"{path}, line {number}: {item.path} is in line {first} already")
            items.append(item)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table: {error}", hint="Save it as UTF-8.") from error
    return make_listing(path.parent.resolve(), items)


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            yield number, {k: v for k, v in row.items() if v is not None}


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = path.read_text(encoding="utf-8").split("\n")  # U+2028 may be in a file's name
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(values, Mapping):
            raise InputError(f"{path}, line {number}: expected an object, found {line[:40]!r}")
        yield number, values


def _item(values: Mapping[str, Any], source: str) -> Item:
    for column in values:
        if column not in COLUMNS:
            raise InputError(
                f"{source}: unknown column {column!r}{did_you_mean(str(column), COLUMNS)}",
                hint=f"Known columns: {', '.join(COLUMNS)}.",
            )
    text = {column: str(value).strip() for column, value in values.items() if value is not None}
    for column in ("path", "domain"):
        if not text.get(column):
            raise InputError(f"{source}: column {column!r} is missing or empty")
    split = text.get("split") or "train"
    if split not in get_args(Split):
        raise InputError(f"{source}: split {split!r} is none of {', '.join(get_args(Split))}")
    return Item(
        path=text["path"],
        domain=text["domain"],
        label=text.get("label") or text.get("class") or "",
        split=cast("Split", split),
        captured_at=text.get("captured_at") or None,
    )
