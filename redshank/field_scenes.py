"""Which frames of a site begin a new scene, remembered in a small file between processes.

The rule is that of the monitor: a sequence id is a scene; without one, frames of one client that
follow each other within `gap_s` seconds and `distance` bits of difference hash are one scene.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from redshank.errors import InputError
from redshank.files import read_json

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
MOST_OPEN_SCENES = 256
"""Open scenes remembered a domain; beyond, the oldest are forgotten."""


class Frame(NamedTuple):
    """What scene forming needs of one image; a plain list in JSON."""

    at_s: float
    client: str
    sequence_id: str
    dhash: str
    """16 hex digits, or empty."""


@dataclass(frozen=True)
class SceneRule:
    """When a frame continues an earlier scene."""

    gap_s: float = 2.0
    """Longest pause inside a scene without sequence id."""
    distance: int = 6
    """Largest dHash distance to the scene's last frame, in bits."""
    memory_s: float = 60.0
    """How long a silent sequence id is remembered."""

    def is_open(self, last: Frame, now_s: float) -> bool:
        """Whether a scene may still be continued."""
        return now_s - last.at_s <= (self.memory_s if last.sequence_id else self.gap_s)

    def continues(self, last: Frame, frame: Frame) -> bool:
        """Whether `frame` belongs to the scene whose last frame is `last`."""
        if last.sequence_id or frame.sequence_id:
            return last.sequence_id == frame.sequence_id
        return last.client == frame.client and (
            hash_distance(last.dhash, frame.dhash) <= self.distance
        )


def hash_distance(first: str, second: str) -> float:
    """Differing bits of two difference hashes; infinite when one is missing."""
    if not first or not second:
        return math.inf
    return (int(first, 16) ^ int(second, 16)).bit_count()


def begins_scene(path: Path, frame: Frame, rule: SceneRule) -> bool:
    """Whether a frame begins a scene; the caller holds the lock of `path`, the memory file."""
    recent = [last for last in _read(path) if rule.is_open(last, frame.at_s)]
    others = [last for last in recent if not rule.continues(last, frame)]
    _overwrite(path, json.dumps([*others, frame][-MOST_OPEN_SCENES:]).encode())
    return len(others) == len(recent)


def _overwrite(path: Path, data: bytes) -> None:
    """Write in place, at a third of the cost of a rename: a kill may tear the file."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.truncate()


def replace_file(path: Path, data: bytes) -> None:
    """Write by one rename, without waiting for the disk: a power cut may tear the file."""
    scratch = f"{path.parent}/.{secrets.token_hex(8)}"
    try:
        try:
            handle = os.open(scratch, _NEW_FILE, 0o644)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(scratch, _NEW_FILE, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(scratch, path)  # noqa: PTH105  # pathlib takes as long as the call itself
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _read(path: Path) -> list[Frame]:
    try:
        rows: Any = read_json(path)
        return [Frame(*row) for row in rows]
    except (InputError, TypeError):
        return []  # no scene is open, or the file is torn: scenes start anew
