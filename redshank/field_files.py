"""The files of one site in the field store: their folder's name, their bytes and their age."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import Any

from redshank.errors import InputError
from redshank.files import read_json


def folder_name(domain: str) -> str:
    """A domain as a plain folder name: percent-encoded, never hidden, never a path."""
    name = urllib.parse.quote(domain, safe="")
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    if not name or len(name) > 240:
        raise InputError(f"domain {domain[:80]!r} is empty or too long for a folder name")
    return name


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder from which others may delete meanwhile."""
    return sum(_size(entry) for entry in os.scandir(folder))


def files_before(folder: Path, before_s: float) -> list[Path]:
    """Every file of images received before a moment, each picture ahead of its record.

    A picture without a readable record, and a file that a killed process left half-written, is as
    old as its last change. The caller holds the domain's lock.
    """
    received = {path.stem: _received_at(path) for path in folder.glob("[!.]*.json")}
    old = [
        path
        for path in folder.iterdir()
        if path.is_file() and received.get(path.stem, path.stat().st_mtime) < before_s
    ]
    return sorted(old, key=lambda path: path.suffix == ".json")


def _received_at(record: Path) -> float:
    try:
        values: Any = read_json(record)
        return float(values["received_at"])
    except (InputError, TypeError, KeyError, ValueError):  # a power cut tore it
        return record.stat().st_mtime


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except FileNotFoundError:
        return 0
