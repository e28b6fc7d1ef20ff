"""The demo's own folder: made anew for each run, kept afterwards, never somebody else's."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import ConflictError, InputError

MARKER = ".redshank-demo"
CHECKOUT = Path(__file__).resolve().parent.parent
"""Stages are programs of a checkout: verbs run from here."""


@dataclass(frozen=True)
class Workspace:
    """Where one run of the demo keeps everything."""

    root: Path

    @property
    def config(self) -> Path:
        """Settings of every verb."""
        return self.root / "redshank.toml"

    @property
    def manifest(self) -> Path:
        """The packaged digits."""
        return self.root / "digits" / "manifest.jsonl"

    def log(self, program: str) -> Path:
        """Output of a background program."""
        return self.root / "logs" / f"{program}.log"


@contextmanager
def fresh_workspace(root: Path) -> Iterator[Workspace]:
    """Make an empty folder; what an earlier demo left there moves to `<root>-previous`.

    Raises:
        InputError: the folder holds something that is not a demo's.
        ConflictError: another demo is running in it.
    """
    root = root.resolve()
    root.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(root.parent / f".{root.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"another demo is running in {root}") from error
        _set_aside(root)
        root.mkdir()
        (root / MARKER).touch()
        yield Workspace(root)
    finally:
        os.close(lock)


def _set_aside(root: Path) -> None:
    if not root.exists():
        return
    if not (root / MARKER).is_file() and any(root.iterdir()):
        raise InputError(
            f"{root} holds something that no demo made ({MARKER} is missing)",
            hint="Give another folder with --out.",
        )
    previous = root.with_name(f"{root.name}-previous")
    if previous.exists():
        shutil.rmtree(previous)
    root.rename(previous)
