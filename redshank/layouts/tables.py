"""Table layouts: CSV, JSON lines or Parquet, with one image a row.

Columns: `path` (relative to the table's folder, absolute, or a URI) and `domain`; optional are
`label` (or `class`; empty means unlabelled), `split` (train, val or test) and `captured_at`. Others
are refused by name, so that a typing error never turns labels into nothing.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from redshank.dataset import SPLITS, Item, Split
from redshank.errors import InputError, MissingPartError
from redshank.layouts.listing import Listing, make_listing
from redshank.records import did_you_mean

TABLE_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
COLUMNS = ("path", "domain", "label", "class", "split", "captured_at")
_KNOWN = frozenset(COLUMNS)

Rows = Iterator[tuple[int, Mapping[str, Any]]]
"""Number of the line (of the row, in Parquet) and its values by column."""


def read_table(path: Path) -> Listing:
    """Read a table of images.

    Raises:
        InputError: a column is unknown or missing, a split has another name, a row is empty, an
            image is listed twice, or the file is no table.
        MissingPartError: Parquet is read with a package that is not there.
    """
    suffix = path.suffix.lower()
    read = _csv_rows if suffix == ".csv" else _parquet_rows if suffix == ".parquet" else _json_rows
    unit = "row" if suffix == ".parquet" else "line"
    lines: dict[str, int] = {}
    items = []
    try:
        for number, values in read(path):
            item = _item(values, f"{path}, {unit} {number}")
            first = lines.setdefault(item.path, number)
            if first != number:
                raise InputError(
                    f"{path}, {unit} {number}: {item.path} is in {unit} {first} already"
                )
            items.append(item)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table: {error}", hint="Save it as UTF-8.") from error
    return make_listing(path.parent.resolve(), items, layout="table")


def _csv_rows(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            yield number, {k: v for k, v in row.items() if v is not None}


def _json_rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="\n") as file:  # U+2028 may be in a file's name
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(values, Mapping):
                raise InputError(
                    f"{path}, line {number}: expected an object, found {line.strip()[:40]!r}"
                )
            yield number, values


def _parquet_rows(path: Path) -> Rows:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingPartError(
            f"{path}: Parquet needs the Python package 'pyarrow'",
            hint="pip install 'redshank[parquet]', or save the table as CSV.",
        ) from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path} is no Parquet file: {error}") from error
    number = 0
    with file:
        for batch in file.iter_batches(batch_size=10_000):
            for values in batch.to_pylist():
                number += 1
                yield number, values


def _item(values: Mapping[str, Any], source: str) -> Item:
    if not _KNOWN.issuperset(values):
        column = next(str(name) for name in values if name not in _KNOWN)
        raise InputError(
            f"{source}: unknown column {column!r}{did_you_mean(column, COLUMNS)}",
            hint=f"Known columns: {', '.join(COLUMNS)}.",
        )
    text = {column: str(value).strip() for column, value in values.items() if value is not None}
    for column in ("path", "domain"):
        if not text.get(column):
            raise InputError(f"{source}: column {column!r} is missing or empty")
    split = text.get("split") or "train"
    if split not in SPLITS:
        raise InputError(f"{source}: split {split!r} is none of train, val, test")
    return Item(
        path=text["path"],
        domain=sys.intern(text["domain"]),
        label=sys.intern(text.get("label") or text.get("class") or ""),
        split=cast("Split", sys.intern(split)),
        captured_at=text.get("captured_at") or None,
    )
