"""Names without persons: salted client hashes, and event ids that sort by time."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
from pathlib import Path

from redshank.errors import IntegrityError

SALT_FILE = "client.salt"
_SALT_BYTES = 32
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")


def load_salt(folder: Path) -> bytes:
    """The salt of this home, made on first use; all workers get the same one.

    Raises:
        IntegrityError: the file is torn; an empty salt would let anybody guess clients back.
    """
    path = folder / SALT_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{SALT_FILE}.{secrets.token_hex(4)}"
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_SALT_BYTES))
            file.flush()
            os.fsync(handle)
        try:
            os.link(scratch, path)  # the first worker wins, nobody overwrites
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    salt = path.read_bytes()
    if len(salt) != _SALT_BYTES:
        raise IntegrityError(
            f"{path} has {len(salt)} bytes, expected {_SALT_BYTES}",
            hint="Delete it: the next start makes a new one, and clients count as new ones.",
        )
    return salt


def client_hash(salt: bytes, client: str) -> str:
    """16 hex digits for a client id or address; nobody without the salt can guess back."""
    return hashlib.blake2b(client.encode(), key=salt, digest_size=8).hexdigest()


def unit_interval(text: str) -> float:
    """A number in [0, 1) that stays the same for the same text (sticky shares)."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64


class RequestIds:
    """The client's request id where it is usable, else a new one."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(7)
        self._counter = itertools.count()

    def of(self, text: str) -> str:
        """`text` when it is 1 to 128 of letters, digits and . _ : / -, else 24 hex digits."""
        if text and _REQUEST_ID.fullmatch(text):
            return text
        return f"{self._process}{next(self._counter):010x}"


class EventIds:
    """Unique event ids of one worker, sortable by time."""

    def __init__(self) -> None:
        self.worker = f"w{os.getpid()}x{secrets.token_hex(3)}"
        self._counter = itertools.count()
        self._last: tuple[int, str] = (-1, "")

    def new(self, time_s: float) -> str:
        """`<milliseconds, hex>-<worker>-<number, hex>`."""
        time_ms, prefix = self._last
        if time_ms != int(time_s * 1000):  # the images of a batch share it
            time_ms = int(time_s * 1000)
            prefix = f"{time_ms:011x}-{self.worker}-"
            self._last = time_ms, prefix
        return f"{prefix}{next(self._counter):08x}"
