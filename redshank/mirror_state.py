"""What a home remembers of a mirror: the names it put there and took from it, and that it did.

A server's push, a loop's pull and a command by hand may run at once on one file: each changes under
a lock, and only what it added or dropped itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from redshank.errors import InputError
from redshank.files import read_json, to_json, write_atomic

STATE = ".state/mirror.json"
"""Below the field store."""
LOCK = "mirror.json.lock"
"""Beside it; a server holds a `mirror.lock` for the length of a pass."""


class State:
    """Names that this home put into a mirror, or took from it, but for deleted images."""

    def __init__(self, root: Path, way: str, mirror: str, deleted: Collection[str]) -> None:
        self._path, self._way, self._mirror = root / STATE, way, mirror
        self._known = self._read().get(way, {}).get(mirror, set())
        self.keys = {key for key in self._known if digest_of(key) not in deleted}

    def add(self, keys: Iterable[str]) -> None:
        """Remember names, on disk."""
        before = len(self.keys)
        self.keys.update(keys)
        if len(self.keys) != before:
            self.save()

    def drop(self, key: str) -> None:
        """Forget a name; `save` makes it last."""
        self.keys.discard(key)

    def is_kept(self) -> bool:
        """Whether this home ever saved something about the mirror, on this way."""
        return self._mirror in self._read().get(self._way, {})

    def save(self) -> None:
        """Write down what was added and dropped since it was read."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = self._read()
            kept = values.setdefault(self._way, {}).get(self._mirror, set())
            kept = (kept | (self.keys - self._known)) - (self._known - self.keys)
            values[self._way][self._mirror] = kept
            self._known = set(self.keys)
            plain = {w: {m: sorted(keys) for m, keys in of.items()} for w, of in values.items()}
            write_atomic(self._path, to_json(plain))

    def _read(self) -> dict[str, dict[str, set[str]]]:
        """Way -> mirror -> names; nothing before the first pass, or of a torn file."""
        with suppress(InputError):
            values = read_json(self._path)
            return {w: {m: set(keys) for m, keys in of.items()} for w, of in values.items()}
        return {}


def digest_of(key: str) -> str:
    """The sha256 in `<domain>/<sha256>`."""
    return key.rpartition("/")[2]
