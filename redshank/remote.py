"""Files of S3, Google Cloud Storage, HTTP and other places, through fsspec (extra `remote`).

Every request has a time limit; faults that may pass are tried again with growing pauses. Missing
files and refused access are ordinary `OSError`s of that file. Missing packages or credentials, and
a storage that does not answer at all, end the work: they concern every file.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from redshank.errors import InputError, MissingPartError, RedshankError, StageError
from redshank.image_bytes import too_large

ATTEMPTS = 4
FIRST_PAUSE_S = 0.5
"""Doubles after each attempt."""
REQUEST_S = 60.0
"""Longest wait for one answer."""
CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; a public bucket: "
    "FSSPEC_S3_ANON=true; another server: FSSPEC_S3_ENDPOINT_URL.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS; a public bucket: FSSPEC_GS_TOKEN=anon.",
    "gcs": "Set GOOGLE_APPLICATION_CREDENTIALS; a public bucket: FSSPEC_GCS_TOKEN=anon.",
    "az": "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and _KEY.",
    "abfs": "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and _KEY.",
}
_NO_CREDENTIALS = ("nocredentials", "credential", "expiredtoken", "refresherror", "googleautherror")
_DENIED = ("accessdenied", "forbidden", "signaturedoesnotmatch", "invalidaccesskeyid")

Answer = TypeVar("Answer")


def read_remote(uri: str, *, max_bytes: int, sleep: Callable[[float], None] = time.sleep) -> bytes:
    """The whole file at a URI.

    Raises:
        OSError: it is missing, refused or above `max_bytes`.
        MissingPartError: a package or credentials are missing.
        StageError: no answer after `ATTEMPTS` attempts.
    """
    system, path = _open_system(uri)
    wait = {"timeout": REQUEST_S} if system.async_impl else {}

    data: bytes = _patiently(lambda: system.cat_file(path, **wait), uri, sleep)
    if len(data) > max_bytes:
        raise too_large(uri, len(data), max_bytes)
    return data


def list_remote(uri: str, *, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Every file below a URI, relative to it, sorted; empty when nothing is there.

    Raises:
        OSError, MissingPartError, StageError: as in `read_remote`.
    """
    system, base = _open_system(uri)
    system.invalidate_cache()  # fsspec remembers listings

    found: list[str] = _patiently(lambda: list(system.find(base)), uri, sleep)
    start = base.rstrip("/") + "/"
    return sorted(name[len(start) :] for name in found if name.startswith(start))


def write_remote(uri: str, data: bytes, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Put a whole file at a URI, in place of the one that is there.

    Raises:
        OSError, MissingPartError, StageError: as in `read_remote`.
    """
    system, path = _open_system(uri)
    _patiently(lambda: system.pipe_file(path, data), uri, sleep)


def remove_remote(uri: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Remove the file at a URI; one that is not there is no error.

    Raises:
        OSError, MissingPartError, StageError: as in `read_remote`.
    """
    system, path = _open_system(uri)
    with suppress(FileNotFoundError):
        _patiently(lambda: system.rm_file(path), uri, sleep)


def check_place(uri: str) -> None:
    """Refuse a place where no file can be put, as far as that is known without asking it.

    Raises:
        InputError: an unknown scheme, no bucket, or a web server.
        MissingPartError: a package is not installed.
    """
    scheme, _, path = uri.partition("://")
    if not path.strip("/"):
        raise InputError(f"{uri} names no bucket", hint=f"Write it like {scheme}://bucket/field.")
    if scheme.lower() in ("http", "https"):
        raise InputError(
            f"{uri}: files are only read from {scheme}://, not put there",
            hint="Give a bucket (s3://, gs://, az://) or a folder.",
        )
    fsspec = _fsspec(uri)
    try:
        fsspec.get_filesystem_class(scheme.lower())
    except (ImportError, ValueError) as error:
        raise _unusable(error, uri) from error


def _open_system(uri: str) -> tuple[Any, str]:
    """A file system of fsspec and the path in it."""
    fsspec = _fsspec(uri)
    try:
        system, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise _unusable(error, uri) from error
    except Exception as error:  # each storage has exceptions of its own
        raise _sorted_error(error, uri) or StageError(f"{uri}: {_text(error)}") from error
    return system, path


def _fsspec(uri: str) -> Any:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        scheme = uri.partition("://")[0].lower()
        raise MissingPartError(
            f"{uri}: {scheme}:// needs the Python package 'fsspec'",
            hint="pip install 'redshank[remote]'",
        ) from error
    return fsspec


def _unusable(error: ImportError | ValueError, uri: str) -> RedshankError:
    """A scheme that fsspec does not know, or whose package is not installed."""
    if isinstance(error, ImportError):
        hint = "Install that package beside redshank, with pip."
        return MissingPartError(f"{uri}: {error}", hint=hint)
    return InputError(f"{uri}: {error}", hint="Known: s3, gs, az, https, ...")


def _patiently(act: Callable[[], Answer], uri: str, sleep: Callable[[float], None]) -> Answer:
    pause_s = FIRST_PAUSE_S
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return act()
        except Exception as error:  # each storage has exceptions of its own
            final = _sorted_error(error, uri)
            if final is not None:
                raise final from error
            if attempt == ATTEMPTS:
                raise StageError(
                    f"{uri} could not be reached in {ATTEMPTS} attempts: {_text(error)}",
                    hint="Is the storage reachable from here? Run the same command again then.",
                ) from error
        sleep(pause_s)
        pause_s *= 2
    raise AssertionError("unreachable")


def _sorted_error(error: Exception, uri: str) -> Exception | None:
    """What the fault means for the user; None when it may pass."""
    name = type(error).__name__.lower()
    text = f"{name} {error}".replace(" ", "").lower()
    if any(word in name for word in _NO_CREDENTIALS) or "nocredential" in text:
        scheme = uri.partition("://")[0].lower()
        return MissingPartError(
            f"{uri}: no usable credentials: {_text(error)}",
            hint=CREDENTIALS.get(scheme, "See the documentation of fsspec for this storage."),
        )
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "no such file", uri)
    if isinstance(error, IsADirectoryError):
        return IsADirectoryError(errno.EISDIR, "is a folder", uri)
    status = getattr(error, "status", None)
    if (
        isinstance(error, PermissionError)
        or status in (401, 403)
        or any(w in text for w in _DENIED)
    ):
        return PermissionError(errno.EACCES, f"access denied: {_text(error)}", uri)
    return None


def _text(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
