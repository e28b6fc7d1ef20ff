"""Field images on S3-like storage: a prefix that follows `field/`, and a `field/` that follows it.

    <url>/<domain>/<sha256>.jpg|.png     the picture, as the field store keeps it
    <url>/<domain>/<sha256>.json         `MirroredImage`, written last: with it the image is there
    <url>/.deleted/<sha256>              tombstone: this image must never come back

`push` runs where images are captured, `pull` where they are trained on. Each pass compares names
and does what is missing, so it may be cut anywhere and run again. Tombstones go both ways: an image
forgotten on one side goes on the other. What else is gone (expired, or another image has its place)
is taken back by the home that had put it there, so several homes may share a prefix, and a home may
push to the one it pulls from. A push leaves the name `.redshank`: a folder without any name is not
mounted, so it empties nobody's home, and nothing is written where its disk should be.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redshank.errors import IntegrityError, MissingPartError, RedshankError, StageError
from redshank.field_files import folder_name
from redshank.field_scenes import replace_file
from redshank.fieldstore import FieldImage, FieldStore
from redshank.files import sha256_bytes, to_json
from redshank.mirror_state import STATE, State, digest_of
from redshank.object_folder import ObjectFolder
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 1
TOMBSTONES = ".deleted/"
MARK = ".redshank"
SUFFIXES = (".jpg", ".png")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_IMAGE = re.compile(r"((?!\.)[^/\\]+/[0-9a-f]{64})\.(?:json|jpg|png)")
MOST_FAILURES_IN_A_ROW = 3
"""Then the pass ends: the storage is away, and the next pass goes on."""


@dataclass(frozen=True)
class MirroredImage:
    """`<sha256>.json` in the mirror."""

    schema: int
    stored_sha256: str
    """Digest of the picture beside it."""
    image: dict[str, Any]
    """`FieldImage`."""


@dataclass
class Pass:
    """What one pass did."""

    uploaded: int = 0
    downloaded: int = 0
    removed: int = 0
    """Images taken away on the side that follows, and deleted ones in the mirror."""
    forgotten: int = 0
    """Tombstones that the other side got to know."""
    failed: int = 0
    left: int = 0
    """Not done: the time was over, or the storage away."""
    problems: list[str] = field(default_factory=list)
    """The first failures."""


class _Work:
    """Does one thing after another; a failure is counted, several in a row end the pass."""

    def __init__(self, within_s: float) -> None:
        self.done = Pass()
        self._end = time.monotonic() + within_s
        self._in_a_row = 0

    def on(self, names: Iterable[str], act: Callable[[str], None]) -> int:
        """How many of the names it was done for."""
        count = 0
        for name in names:
            if self._in_a_row >= MOST_FAILURES_IN_A_ROW or time.monotonic() > self._end:
                self.done.left += 1
                continue
            try:
                act(name)
            except MissingPartError:
                raise
            except (RedshankError, OSError) as error:
                self._fail(name, error)
            else:
                self._in_a_row = 0
                count += 1
        return count

    def _fail(self, name: str, error: Exception) -> None:
        self.done.failed += 1
        self._in_a_row += isinstance(error, StageError)
        if len(self.done.problems) < MOST_FAILURES_IN_A_ROW:
            text = error.message if isinstance(error, RedshankError) else str(error)
            self.done.problems.append(f"{name}: {text}")


def push(root: Path, mirror: ObjectFolder, *, within_s: float = float("inf")) -> Pass:
    """Have the mirror follow the field store of this home.

    Args:
        root: the folder `field/`.
        mirror: where to.
        within_s: what is not begun by then waits for the next pass.

    Raises:
        MissingPartError: a package or credentials are missing.
        StageError, OSError: the mirror cannot be listed, or it is a folder that is not mounted.
    """
    store, work, there = FieldStore(root), _Work(within_s), mirror.names()
    _leave_mark(root, mirror, there)
    _exchange_tombstones(store, mirror, there, work)
    deleted = store.deleted()
    state = State(root, "pushed", str(mirror), deleted)
    of_others = State(root, "pulled", str(mirror), deleted).keys
    here = {
        f"{folder_name(domain)}/{image.sha256}": image
        for domain in store.domains()
        for image in store.images(domain)
    }
    missing = sorted(key for key in here.keys() - of_others if f"{key}.json" not in there)
    state.add(missing)  # before, so that a killed pass leaves nothing that nobody owns
    work.done.uploaded = work.on(missing, lambda key: _upload(mirror, key, here[key]))

    def take_back(key: str) -> None:
        _remove_there(mirror, key, there)
        state.drop(key)

    work.done.removed += work.on(sorted(state.keys - here.keys()), take_back)
    state.save()
    return work.done


def pull(root: Path, mirror: ObjectFolder, *, within_s: float = float("inf")) -> Pass:
    """Have the field store of this home follow a mirror; every picture is checked by its digest.

    Arguments and errors are those of `push`.

    Raises:
        StageError: also where nothing at all is left of a mirror that images came from.
    """
    store, work, there = FieldStore(root), _Work(within_s), mirror.names()
    if not there and (known := State(root, "pulled", str(mirror), store.deleted()).keys):
        raise StageError(
            f"{mirror} is empty, and {len(known)} images here came from it: nothing was removed",
            hint=f"Is it mounted? If it was emptied on purpose, remove {root / STATE}.",
        )
    _exchange_tombstones(store, mirror, there, work)
    deleted = store.deleted()
    state = State(root, "pulled", str(mirror), deleted)
    offered = {key for key in _keys(there) if f"{key}.json" in there} - _of(deleted, there)
    own = State(root, "pushed", str(mirror), deleted).keys  # what is not here, has expired here
    missing = sorted(key for key in offered - own if not (root / f"{key}.json").exists())
    state.add(missing)
    work.done.downloaded = work.on(missing, lambda key: _download(mirror, key, store, root))

    def remove(key: str) -> None:
        _remove_here(store, root, key)
        state.drop(key)

    work.done.removed += work.on(sorted(state.keys - offered), remove)
    state.save()
    return work.done


def _leave_mark(root: Path, mirror: ObjectFolder, there: set[str]) -> None:
    """A name that stays; a folder where it was and nothing is now has lost its disk.

    Raises:
        StageError: so it is.
    """
    marked = State(root, "marked", str(mirror), ())
    if mirror.is_local and marked.is_kept() and not there:
        raise StageError(
            f"{mirror} is empty, and images were put there before: nothing was written",
            hint=f"Is it mounted? If it was emptied on purpose: touch {mirror}/{MARK}",
        )
    if MARK not in there:
        mirror.write(MARK, b"")
        there.add(MARK)
    if not marked.is_kept():
        marked.save()


def _exchange_tombstones(
    store: FieldStore, mirror: ObjectFolder, there: set[str], work: _Work
) -> None:
    """Whoever was told to forget an image tells the other side."""
    here = store.deleted()
    other = {n.removeprefix(TOMBSTONES) for n in there if n.startswith(TOMBSTONES)}
    other = {digest for digest in other if _DIGEST.fullmatch(digest)}
    work.done.forgotten += work.on(sorted(other - here), lambda digest: _forget(store, digest))
    work.done.forgotten += work.on(
        sorted(here - other), lambda digest: mirror.write(TOMBSTONES + digest, b"")
    )
    work.done.removed += work.on(
        sorted(_of(here | other, there)), lambda key: _remove_there(mirror, key, there)
    )


def _forget(store: FieldStore, digest: str) -> None:
    store.delete(digest)


def _upload(mirror: ObjectFolder, key: str, image: FieldImage) -> None:
    data = image.path.read_bytes()
    values = as_dict(image)
    del values["path"]
    record = MirroredImage(SCHEMA, sha256_bytes(data), values)
    mirror.write(f"{key}{image.path.suffix}", data)
    mirror.write(f"{key}.json", to_json(as_dict(record)))


def _download(mirror: ObjectFolder, key: str, store: FieldStore, root: Path) -> None:
    """Fetch, check and keep one image.

    Raises:
        IntegrityError: the picture is not the one that its record names.
    """
    source = f"{mirror}/{key}.json"
    try:
        values = json.loads(mirror.read(f"{key}.json"))
    except ValueError as error:
        raise IntegrityError(f"{source} is no JSON: {error}") from error
    check_schema(values, current=SCHEMA, source=source)
    record = from_dict(MirroredImage, values, source=source)
    image = from_dict(FieldImage, record.image, source=source)
    digest = digest_of(key)
    names = [f"{digest}.jpg", f"{digest}.png"]
    if f"{folder_name(image.domain)}/{image.sha256}" != key or image.file not in names:
        raise IntegrityError(f"{source} is the record of another image")
    data = mirror.read(f"{key}{Path(image.file).suffix}")
    if sha256_bytes(data) != record.stored_sha256 or len(data) != image.size_bytes:
        raise IntegrityError(f"{mirror}/{key} is not the picture that its record names")
    with store.locked(image.domain):
        if digest in store.deleted():
            return
        folder = root / folder_name(image.domain)
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / image.file, data)
        replace_file(folder / f"{digest}.json", to_json(record.image))


def _remove_there(mirror: ObjectFolder, key: str, there: set[str]) -> None:
    """The record first: without it no image is there."""
    for suffix in (".json", *SUFFIXES):
        if key + suffix in there:
            mirror.remove(key + suffix)


def _remove_here(store: FieldStore, root: Path, key: str) -> None:
    with store.locked(urllib.parse.unquote(key.partition("/")[0])):
        for suffix in (*SUFFIXES, ".json"):
            (root / f"{key}{suffix}").unlink(missing_ok=True)


def _keys(names: Iterable[str]) -> set[str]:
    """`<domain>/<sha256>` of every name of that form; others are nobody's images."""
    return {match[1] for name in names if (match := _IMAGE.fullmatch(name))}


def _of(digests: Collection[str], names: Iterable[str]) -> set[str]:
    """The keys of these digests."""
    return {key for key in _keys(names) if digest_of(key) in digests}
