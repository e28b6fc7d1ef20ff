"""Field images that may be kept for retraining: a bounded, fair sample of every site.

    field/<domain>/<sha256>.jpg|.png     the picture, metadata stripped (redshank/image_metadata.py)
    field/<domain>/<sha256>.json         `FieldImage`: when, from whom, how sure the model was
    field/.state/<domain>.lock|.json     lock of the domain, and scenes seen a moment ago
    field/.deleted/<sha256>              tombstone: this image must never come back

Several processes write the same folder: each change is made under the domain's lock, each file
appears by one rename. Of every domain `per_domain` images stay: in half of the places the newest,
so every new scene enters, in the others a uniform sample of what is older
(redshank/field_sample.py); after `expire` there is room, and newer scenes stay likelier.
A scene (near-duplicate frames of one client, or one sequence id) gives one image: its first.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import InputError
from redshank.field_files import (
    Ages,
    Listings,
    check_digest,
    files_before,
    folder_bytes,
    folder_name,
    take_ticket,
)
from redshank.field_sample import sample
from redshank.field_scenes import Frame, SceneRule, begins_scene, replace_file
from redshank.files import read_json, to_json
from redshank.image_metadata import strip_metadata
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 1
_ADDS_BETWEEN_COUNTS = 64
"""After so many additions the bytes of the whole store are counted anew."""


@dataclass(frozen=True)
class FieldImage:
    """`<sha256>.json`: one kept image; `path` is filled in by the reader."""

    schema: int
    file: str
    domain: str
    sha256: str
    """Digest of the original bytes; the stored file has no metadata and another digest."""
    size_bytes: int
    """Of the stored file."""
    received_at: float
    client: str
    """Salted hash."""
    sequence_id: str
    scene: str
    """Unique per scene; every stored image is a scene of its own."""
    dhash: str
    confidence: float
    novelty: float
    path: Path = Path()


_Record = tuple[int, FieldImage]
"""Change time of the record's file in nanoseconds, and what it says."""


class FieldStore:
    """Adds, lists and deletes field images under `root`.

    Args:
        root: the folder `field/`.
        per_domain: images kept of one domain.
        max_bytes: bytes kept in all; beyond, the largest domain gives way.
        scenes: which frames are near-duplicates.
    """

    def __init__(
        self,
        root: Path,
        *,
        per_domain: int = 2000,
        max_bytes: int = 2 * 1024**3,
        scenes: SceneRule | None = None,
    ) -> None:
        self._root, self._state, self._deleted = root, root / ".state", root / ".deleted"
        self._per_domain, self._max_bytes = per_domain, max_bytes
        self._scenes = scenes or SceneRule()
        self._listings = Listings()
        self._records: dict[str, dict[str, _Record]] = {}
        self._ages = Ages()
        self._bytes, self._adds = 0, 0

    def add(  # noqa: PLR0913  # one event's worth of facts, all by name
        self,
        domain: str,
        data: bytes,
        *,
        sha256: str,
        received_at: float,
        client: str,
        sequence_id: str,
        dhash: str,
        confidence: float,
        novelty: float,
    ) -> bool:
        """Keep an image, or not; returns whether it is kept now.

        Raises:
            InputError: the bytes are no image, or the digest is no sha256.
            OSError: the disk is full or gone; nothing half-written stays behind.
        """
        check_digest(sha256)
        if (self._deleted / sha256).exists() or len(data) > self._max_bytes:
            return False
        frame = Frame(received_at, client, sequence_id, dhash)
        memory = self._state / f"{folder_name(domain)}.json"
        with self._names(domain) as names:
            if sha256 in names or not begins_scene(memory, frame, self._scenes):
                return False
            surplus = self._surplus(domain, names, self._per_domain, {sha256: received_at})
            if sha256 in surplus:
                return False
            clean, suffix = strip_metadata(data)
            image = FieldImage(
                schema=SCHEMA,
                file=sha256 + suffix,
                domain=domain,
                sha256=sha256,
                size_bytes=len(clean),
                received_at=received_at,
                client=client,
                sequence_id=sequence_id,
                scene=f"{domain}/{sha256[:16]}",
                dhash=dhash,
                confidence=confidence,
                novelty=novelty,
            )
            self._write(image, clean)
            names[sha256] = image.file
            for digest in surplus:
                self._remove(domain, names.pop(digest))
        self._fit(len(clean))
        return (self._folder(domain) / image.file).exists()

    def images(self, domain: str, *, since_s: float | None = None) -> tuple[FieldImage, ...]:
        """The kept images of a domain in order of time, deleted ones left out.

        A record that this store has read is not parsed again: a healing that waits for images asks
        every few seconds.

        Args:
            domain: the site.
            since_s: only images received at or after this time, in seconds since the epoch.
        """
        before, deleted = self._records.get(domain, {}), self.deleted()
        found: dict[str, _Record] = {}
        for path in self._folder(domain).glob("*.json"):
            record = self._read(path, before.get(path.name))
            if record is not None:
                found[path.name] = record
        self._records[domain] = found
        fitting = [
            image
            for _, image in found.values()
            if image.sha256 not in deleted and (since_s is None or image.received_at >= since_s)
        ]
        return tuple(sorted(fitting, key=lambda image: (image.received_at, image.sha256)))

    def domains(self) -> tuple[str, ...]:
        """Every domain with images, sorted."""
        if not self._root.is_dir():
            return ()
        folders = (p for p in self._root.iterdir() if p.is_dir() and not p.name.startswith("."))
        return tuple(sorted(urllib.parse.unquote(folder.name) for folder in folders))

    def delete(self, sha256: str) -> int:
        """Delete an image everywhere and for ever; returns from how many domains it went."""
        check_digest(sha256)
        self._deleted.mkdir(parents=True, exist_ok=True)
        (self._deleted / sha256).touch()
        gone = 0
        for domain in self.domains():
            with self._names(domain) as names:
                if sha256 in names:
                    self._remove(domain, names.pop(sha256))
                    gone += 1
        return gone

    def expire(self, before_s: float) -> int:
        """Remove what was received before a moment, in seconds since the epoch.

        Leaves no tombstone, and snapshots keep their own names of the bytes.

        Returns:
            How many files of images went.
        """
        gone = 0
        for domain in self.domains():
            with self.locked(domain):
                for path in files_before(self._folder(domain), before_s):
                    path.unlink()
                    gone += path.suffix != ".json"
        return gone

    def deleted(self) -> frozenset[str]:
        """Digests of all images that somebody deleted; snapshots leave them out."""
        return frozenset(path.name for path in self._deleted.glob("*"))

    def _folder(self, domain: str) -> Path:
        return self._root / folder_name(domain)

    @contextmanager
    def _names(self, domain: str) -> Iterator[dict[str, str]]:
        """Digest -> file name, with the domain held; what changes the files changes the names."""
        with self.locked(domain) as ticket:
            yield (names := self._listings.read(self._folder(domain), ticket))
            self._listings.keep(self._folder(domain), ticket, names)

    def _surplus(
        self, domain: str, names: dict[str, str], most: int, new: dict[str, float]
    ) -> set[str]:
        """Digests that must go so that at most `most` images stay. The lock is held."""
        if len(names) + len(new) <= most:
            return set()
        received = self._ages.of(self._folder(domain), names) | new
        return received.keys() - sample(received, most)

    def _write(self, image: FieldImage, data: bytes) -> None:
        folder = self._folder(image.domain)
        folder.mkdir(parents=True, exist_ok=True)
        values = as_dict(image)
        del values["path"]
        replace_file(folder / f"{image.sha256}.json", to_json(values))
        try:
            replace_file(folder / image.file, data)  # from here on the image is there
        except BaseException:
            (folder / f"{image.sha256}.json").unlink(missing_ok=True)
            raise

    def _read(self, path: Path, before: _Record | None) -> _Record | None:
        """One record, or None when its image is half-written or going away right now."""
        try:
            changed_ns = path.stat().st_mtime_ns
            if before is None or before[0] != changed_ns:
                values = read_json(path)
                check_schema(values, current=SCHEMA, source=str(path))
                image = from_dict(FieldImage, values, source=str(path))
                before = changed_ns, dataclasses.replace(image, path=path.parent / image.file)
            whole = before[1].path.stat().st_size == before[1].size_bytes
        except (InputError, OSError):
            return None
        return before if whole else None

    def _remove(self, domain: str, name: str) -> None:
        file = self._folder(domain) / name
        self._bytes -= file.stat().st_size if file.exists() else 0
        file.unlink(missing_ok=True)
        file.with_suffix(".json").unlink(missing_ok=True)

    def _fit(self, added: int) -> None:
        """Keep the whole store under its byte cap: the largest domain gives some of its images."""
        if self._adds % _ADDS_BETWEEN_COUNTS == 0:
            self._bytes = sum(self._sizes().values())
        else:
            self._bytes += added
        self._adds += 1
        while self._bytes > self._max_bytes:
            sizes = self._sizes()
            self._bytes = sum(sizes.values())
            if self._bytes <= self._max_bytes:
                return
            largest = max(sizes, key=lambda domain: sizes[domain])
            with self._names(largest) as names:
                for digest in self._surplus(largest, names, max(0, len(names) - 1), {}):
                    self._remove(largest, names.pop(digest))

    def _sizes(self) -> dict[str, int]:
        return {domain: folder_bytes(self._folder(domain)) for domain in self.domains()}

    @contextmanager
    def locked(self, domain: str) -> Iterator[int]:
        """Hold a domain: whoever changes its files does. Gives the number of this hold."""
        self._state.mkdir(parents=True, exist_ok=True)
        name = f"{folder_name(domain)}.lock"
        handle = os.open(self._state / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield take_ticket(handle)
        finally:
            os.close(handle)
