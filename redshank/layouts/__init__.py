"""Readers of image layouts that users have on disk: folders and tables, without conversion."""

from __future__ import annotations

from pathlib import Path

from redshank.errors import InputError
from redshank.layouts.folders import scan_folder
from redshank.layouts.listing import Listing
from redshank.layouts.tables import TABLE_SUFFIXES, read_table

__all__ = ["Listing", "read_layout", "read_table", "scan_folder"]


def read_layout(path: Path) -> Listing:
    """Read a folder of images, or a CSV or JSON-lines table that lists them.

    Raises:
        InputError: nothing is there, or it is neither a folder nor a known table.
    """
    if path.is_dir():
        return scan_folder(path)
    if not path.exists():
        raise InputError(
            f"{path} does not exist", hint="Give a folder of images, or a CSV or JSONL table."
        )
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(
            f"{path} is neither a folder nor a table ({', '.join(TABLE_SUFFIXES)})",
            hint="A table has the columns path, domain and, if known, label and split.",
        )
    return read_table(path)
