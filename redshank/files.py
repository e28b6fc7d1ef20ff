"""Files that are either there and complete, or not there: atomic writes, digests, sortable ids."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redshank.errors import InputError, IntegrityError

Clock = Callable[[], float]
"""Seconds since the epoch; injected wherever time decides something (`time.time` by default)."""


def rfc3339(time_s: float) -> str:
    """Format seconds since the epoch as UTC RFC 3339 with milliseconds."""
    moment = datetime.fromtimestamp(time_s, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> float:
    """Read an RFC 3339 time; returns seconds since the epoch."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"time {text!r} is not RFC 3339, like 2026-11-22T09:00:00Z") from error
    if moment.tzinfo is None:
        raise InputError(f"time {text!r} names no zone", hint="Add Z for UTC.")
    return moment.timestamp()


def new_id(time_s: float) -> str:
    """An id that sorts by time and is unlike all others: `20261122T090000-4f1c9a`."""
    stamp = datetime.fromtimestamp(time_s, tz=UTC).strftime("%Y%m%dT%H%M%S")
    return f"{stamp}-{secrets.token_hex(3)}"


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, *, source: str) -> None:
    """Refuse a file whose digest is not the one `source` promises.

    Raises:
        IntegrityError: the file is missing or its digest differs.
    """
    if not path.is_file():
        raise IntegrityError(f"{path} is missing, but {source} lists it")
    actual = sha256_file(path)
    if actual != expected:
        raise IntegrityError(
            f"{path} has sha256 {actual[:12]}..., {source} says {expected[:12]}...",
            hint="The file changed after it was written. Make it again from its source.",
        )


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, private: bool = False) -> None:
    """Write `data` so that readers see the old file or the whole new one, also after a crash.

    Pieces are written as they come, so that a file may be larger than memory. The umask decides
    who may read it, as for any file; with `private` only its owner may.

    Raises:
        InputError: a folder is there.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with _naming(path):
        handle = os.open(scratch, flags, 0o600 if private else 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors name what was asked for, not its scratch; those of a full disk name nothing."""
    scratch = str(path.with_name(f".{path.name[:200]}."))
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).startswith(scratch):
            error.filename = str(path)
            del error.filename2
        raise


def sync_folder(path: Path) -> None:
    """Make a rename in `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def to_json(value: Any) -> bytes:
    """JSON as redshank stores it: UTF-8, two spaces, no NaN, a final newline."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


@contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """Give a scratch folder beside `target`; on success it becomes `target` in one rename.

    Raises:
        InputError: `target` exists already; published folders are immutable.
    """
    if target.exists():
        raise InputError(f"{target} exists already", hint="Published folders are never changed.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _naming(target):
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with _naming(target):
            yield scratch
        for path in scratch.rglob("*"):
            if path.is_file():
                _sync_file(path)
        scratch.chmod(0o755)
        scratch.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
