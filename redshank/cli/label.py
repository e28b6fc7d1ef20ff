"""Bring in labels that arrived after the predictions.

`redshank label import FILE` reads a CSV file with the columns image_sha256 and label (a header line
names them, in any order). The digest is the one of the image's original bytes, as in the prediction
events. A label that was known is corrected; the import itself goes into the audit trail. Labels of
captured field images count in the gates of the next healing.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter
from pathlib import Path

from redshank.cli import print_json, user_name
from redshank.errors import InputError
from redshank.files import sha256_bytes
from redshank.records import as_dict
from redshank.settings import Settings

COLUMNS = ("image_sha256", "label")
DIGEST = re.compile(r"[0-9a-f]{64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("import", help="read labels from a CSV file")
    one.add_argument("file", type=Path, metavar="FILE", help="CSV with image_sha256 and label")
    one.add_argument("--actor", default=None, help="who gave the labels (default: you)")
    one.add_argument("--json", action="store_true", help="print what changed as JSON")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Import one file."""
    from redshank.store.control import open_control

    data = options.file.read_bytes()
    rows = read_rows(data, source=str(options.file))
    store = open_control(settings.home.control_database)
    counts = store.import_labels(
        rows,
        actor=options.actor or user_name(),
        subject=sha256_bytes(data),
        source=options.file.name,
    )
    store.close()
    if options.json:
        print_json(as_dict(counts))
    print(
        f"{options.file}: {counts.new} new, {counts.changed} changed, {counts.same} known before",
        file=sys.stderr,
    )
    for label, count in _unknown_classes(settings, rows).items():
        print(
            f"{options.file}: {label!r} ({count} images) is no class of the live model "
            f"{settings.export.model!r}: the gates pass those images over",
            file=sys.stderr,
        )
    return 0


def read_rows(data: bytes, *, source: str) -> list[tuple[str, str]]:
    """The (image_sha256, label) rows of a CSV file.

    Raises:
        InputError: it is no UTF-8 CSV, a column is missing, a digest is none, a label is empty,
            or an image has two labels.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
        table = csv.DictReader(lines, strict=True)
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise InputError(
                f"{source} has no column {missing[0]!r}",
                hint="The first line must name the columns: image_sha256,label",
            )
        rows = [(_row(row, f"{source}, line {table.line_num}"), table.line_num) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} is not a CSV file in UTF-8: {error}") from error
    _refuse_contradictions(rows, source)
    return [row for row, _ in rows]


def _refuse_contradictions(rows: list[tuple[tuple[str, str], int]], source: str) -> None:
    """The same line twice does no harm; two labels for one image do."""
    first: dict[str, tuple[str, int]] = {}
    for (digest, label), line in rows:
        before, at = first.setdefault(digest, (label, line))
        if before != label:
            raise InputError(
                f"{source}, line {line}: image {digest[:12]}... is {label!r} here "
                f"and {before!r} in line {at}",
                hint="Keep one of the two lines.",
            )


def _unknown_classes(settings: Settings, rows: list[tuple[str, str]]) -> dict[str, int]:
    """Labels that the live model has no class for, with their number of rows."""
    from redshank.bundle import read_bundle
    from redshank.registry import Registry

    registry = Registry(settings.home.path("models"), settings.home.path("bundles"))
    if settings.export.model not in registry.names():
        return {}
    live = registry.bundle_path(registry.read(settings.export.model).live)
    classes = set(read_bundle(live, verify=False).classes)
    return dict(Counter(label for _, label in rows if label not in classes))


def _row(row: dict[str, str | None], source: str) -> tuple[str, str]:
    digest = (row["image_sha256"] or "").strip().lower()
    label = (row["label"] or "").strip()
    if not DIGEST.fullmatch(digest):
        raise InputError(f"{source}: {digest[:80]!r} is no sha256 digest (64 hex digits)")
    if not label:
        raise InputError(f"{source}: the label is empty")
    return digest, label
