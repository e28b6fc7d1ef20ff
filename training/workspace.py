"""Where an unfinished training keeps its pixels and checkpoints: one hidden folder beside the runs.

The folder's name is a digest of all that decides the result, so that `--resume` finds its own work
and never somebody else's.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from redshank.errors import ConflictError
from redshank.files import sha256_bytes
from redshank.settings import TrainingSettings

from .processes import Processes

UNDECISIVE = (
    "device",
    "threads",
    "checkpoint_every",
    "prefetch",
    "tensorboard",
    "pixels",
    "pixels_memory_mb",
)
"""Settings that change speed and safety, not the result (beyond rounding)."""


def workspace_name(data_sha256: str, settings: TrainingSettings, parent_id: str | None) -> str:
    """`.work-<digest>` of the data, the settings and the parent."""
    values = dataclasses.asdict(settings)
    for name in UNDECISIVE:
        del values[name]
    text = json.dumps([data_sha256, values, parent_id], sort_keys=True)
    return f".work-{sha256_bytes(text.encode())[:16]}"


@contextmanager
def open_workspace(folder: Path, *, resume: bool) -> Iterator[Path]:
    """Locks and gives the folder; empties it first unless `resume`, deletes it on success.

    After an error or an interruption it stays, for `--resume`.

    Raises:
        ConflictError: another process is training the same thing now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w", encoding="utf-8") as lock:
        _take(lock, folder)
        if not resume:
            for path in folder.iterdir():
                if path.name != "lock":
                    path.unlink()
        yield folder
        # what a network disk still holds back must not make a failure of a published run
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def shared_workspace(folder: Path, *, resume: bool, processes: Processes) -> Iterator[Path]:
    """`open_workspace` for several processes: the first holds it, the others come and leave."""
    with ExitStack() as stack:
        if processes.writes:
            stack.enter_context(open_workspace(folder, resume=resume))
        processes.agreed("open")
        yield folder
        processes.agreed("done")


def _take(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        busy = os.fstat(lock.fileno()).st_nlink == 0  # its owner ended since we opened it
    except BlockingIOError:
        busy = True
    if busy:
        raise ConflictError(
            f"another process trains the same data with the same settings in {folder}",
            hint="Wait for it, or change training.seed.",
        )
