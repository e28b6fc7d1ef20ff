"""The files of one site in the field store: their names, their bytes and their age."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redshank.errors import InputError
from redshank.files import read_json

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Ages:
    """When the images of a site came; a record is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, float]] = {}

    def of(self, folder: Path, digests: Iterable[str]) -> dict[str, float]:
        """Digest -> seconds since the epoch. The caller holds the domain's lock."""
        known = self._known.get(folder, {})
        self._known[folder] = {
            digest: known[digest] if digest in known else arrival_s(folder / f"{digest}.json")
            for digest in digests
        }
        return self._known[folder]


class Listings:
    """The pictures of each site, digest -> file name; read again only when others changed them.

    Thousands of names cost more to read than an image to keep. Each hold of a domain's lock has a
    number of its own: when nobody held it since our last time, only we changed the files. Who
    deletes by hand, without the lock, changes the time of the folder.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int, dict[str, str]]] = {}

    def read(self, folder: Path, ticket: int) -> dict[str, str]:
        """What is there now. The caller holds the lock and has its number."""
        former, changed_ns, names = self._known.pop(folder, (0, 0, {}))
        if former and former == ticket - 1 and changed_ns == _changed_ns(folder):
            return names
        files = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  # twice as fast
        return {name[:64]: name for name in files if not name.endswith(".json") and name[0] != "."}

    def keep(self, folder: Path, ticket: int, names: dict[str, str]) -> None:
        """What the caller left there, before it lets go of the lock."""
        self._known[folder] = (ticket, _changed_ns(folder), names)


def take_ticket(handle: int) -> int:
    """The number of this hold of a lock, one more than the last; 0 on a disk that is full."""
    ticket = int.from_bytes(os.pread(handle, 8, 0)) + 1
    try:
        os.pwrite(handle, ticket.to_bytes(8), 0)
    except OSError:  # room must be made all the same
        return 0
    return ticket


def _changed_ns(folder: Path) -> int:
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


def check_digest(sha256: str) -> None:
    """Refuse what is no sha256: it becomes the name of a file."""
    if not _DIGEST.fullmatch(sha256):
        raise InputError(
            f"{sha256[:80]!r} is no sha256 digest (64 hex digits)",
            hint="`sha256sum FILE` prints that of the image as it was sent.",
        )


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
    received = {path.stem: arrival_s(path) for path in folder.glob("[!.]*.json")}
    old = [
        path
        for path in folder.iterdir()
        if path.is_file() and received.get(path.stem, path.stat().st_mtime) < before_s
    ]
    return sorted(old, key=lambda path: path.suffix == ".json")


def arrival_s(record: Path) -> float:
    """When an image came, in seconds since the epoch; without a record before all others.

    A record that cannot be read is as old as its last change.
    """
    try:
        values: Any = read_json(record)
        return float(values["received_at"])
    except (InputError, TypeError, KeyError, ValueError):  # a power cut tore it
        return record.stat().st_mtime if record.exists() else 0.0


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except FileNotFoundError:
        return 0
