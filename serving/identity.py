"""Names without persons: salted client hashes, and event ids that sort by time."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
from pathlib import Path

SALT_FILE = "client.salt"
_SALT_BYTES = 32


def load_salt(folder: Path) -> bytes:
    """The salt of this home, made on first use; all workers get the same one."""
    path = folder / SALT_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{SALT_FILE}.{secrets.token_hex(4)}"
        scratch.write_bytes(secrets.token_bytes(_SALT_BYTES))
        scratch.chmod(0o600)
        try:
            os.link(scratch, path)  # the first worker wins, nobody overwrites
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return path.read_bytes()


def client_hash(salt: bytes, client: str) -> str:
    """16 hex digits for a client id or address; nobody without the salt can guess back."""
    return hashlib.blake2b(client.encode(), key=salt, digest_size=8).hexdigest()


def unit_interval(text: str) -> float:
    """A number in [0, 1) that stays the same for the same text (sticky shares)."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64


class EventIds:
    """Unique event ids of one worker, sortable by time."""

    def __init__(self) -> None:
        self.worker = f"w{os.getpid()}x{secrets.token_hex(3)}"
        self._counter = itertools.count()

    def new(self, time_s: float) -> str:
        """`<milliseconds, hex>-<worker>-<number, hex>`."""
        return f"{int(time_s * 1000):011x}-{self.worker}-{next(self._counter):08x}"
