"""Where an image lies and how its bytes are read: a local file, or a URI through fsspec.

A *location* is a `Path` for local files and text for everything else (`s3://`, `gs://`, `https://`,
`memory://`, ...; `file://` is local too). Local reading needs no package and opens nothing that
could block: a pipe, a device or a folder is refused by name. Remote reading waits a bounded time,
tries again after faults that pass, and says what to do where credentials or packages are missing.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

from redshank.errors import InputError

Location: TypeAlias = Path | str
"""A local path, or a URI as text."""

MAX_FILE_BYTES = 512 * 2**20
"""Larger files are no pictures of a size that is read (see `redshank.preprocess.MAX_PIXELS`)."""

_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://)[^/@]*:[^/@]*@")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_uri(text: str) -> bool:
    """Whether the text starts like `s3://`."""
    return "://" in text and _SCHEME.match(text) is not None


def as_location(text: str) -> Location:
    """A path or URI that somebody wrote; `file://` becomes a path, percent escapes resolved.

    Raises:
        InputError: the URI holds a password, which manifests and runs would carry on.
    """
    if not is_uri(text):
        return Path(text)
    if _PASSWORD.match(text):
        shown = _PASSWORD.sub(r"\1...@", text)
        raise InputError(
            f"{shown}: a URI must not hold a password",
            hint="Manifests and runs carry it on: give it where fsspec looks for credentials.",
        )
    if text.lower().startswith("file://"):
        return Path("/" + unquote(text[len("file://") :].partition("/")[2]))
    return text.rstrip("/")


def join_location(root: Location, path: str) -> Location:
    """Where `path` is when it starts at `root`; an absolute path and a URI stand for themselves."""
    if is_uri(path):
        return as_location(path)
    if isinstance(root, Path):
        return root / path
    return Path(path) if path.startswith("/") else f"{root.rstrip('/')}/{path}"


def read_bytes(location: Location, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The whole file.

    Raises:
        OSError: it is missing, refused, no regular file or above `max_bytes`; `strerror` says why.
        MissingPartError: a package or credentials for this kind of URI are missing.
        StageError: the storage did not answer.
    """
    if isinstance(location, str):
        from redshank.remote import read_remote

        return read_remote(location, max_bytes=max_bytes)
    handle = os.open(location, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(_checked(handle, location, max_bytes), "rb", buffering=0) as file:
        return file.readall()


def _checked(handle: int, path: Path, max_bytes: int) -> int:
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "neither a file nor a folder", str(path))
        if status.st_size > max_bytes:
            raise too_large(str(path), status.st_size, max_bytes)
    except OSError:
        os.close(handle)
        raise
    return handle


def too_large(name: str, size_bytes: int, max_bytes: int) -> OSError:
    """The error of a file above the limit."""
    return OSError(
        errno.EFBIG, f"the file has {size_bytes} bytes, more than {max_bytes} are not read", name
    )
