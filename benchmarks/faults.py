"""What goes wrong around a server: each fault is applied when its block begins and ends with it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from redshank.events import spool_files


@dataclass(frozen=True)
class Place:
    """Where a server keeps its things, and who it is."""

    home: Path
    workers: Callable[[], list[int]]
    """Process ids of the workers."""


Fault = Callable[[Place], AbstractContextManager[object]]


@contextlib.contextmanager
def worker_killed(place: Place) -> Iterator[None]:
    """SIGKILL of one worker; the supervisor starts another."""
    os.kill(place.workers()[0], signal.SIGKILL)
    yield


@contextlib.contextmanager
def disk_full(place: Place) -> Iterator[None]:
    """No byte left on the file system of the home."""
    ballast = place.home / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for piece in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(piece))
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def and_a_worker_killed(place: Place, fault: Fault) -> Iterator[None]:
    """A worker must come back although the fault lasts."""
    with fault(place), worker_killed(place):
        yield


@contextlib.contextmanager
def no_file_grows(place: Place) -> Iterator[None]:
    """Workers may write to no file (RLIMIT_FSIZE): a full disk without being root."""
    import resource

    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in place.workers()}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def spool_locked(place: Place) -> Iterator[None]:
    """Another process holds the write lock of every spool file, also of those made meanwhile."""
    stop, held = threading.Event(), dict[Path, sqlite3.Connection]()

    def lock() -> None:
        while not stop.wait(0.02):
            for path in spool_files(place.home / "spool"):
                with contextlib.suppress(sqlite3.Error):
                    if path not in held:
                        held[path] = _locked(path)
        for connection in held.values():
            connection.close()

    thread = threading.Thread(target=lock)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _locked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=0.5)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@contextlib.contextmanager
def deleted(place: Place, name: str) -> Iterator[None]:
    """Somebody removes a whole folder of the home."""
    _remove(place.home / name)
    yield


@contextlib.contextmanager
def a_file_instead(place: Place, name: str) -> Iterator[None]:
    """The folder is gone, and a file has its name: nothing can be made there."""
    folder, aside = place.home / name, place.home / f"{name}.aside"
    folder.rename(aside)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


@contextlib.contextmanager
def read_only(place: Place, name: str) -> Iterator[None]:
    """The folder is empty, and no file can be made in it."""
    folder = place.home / name
    _remove(folder)
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    mount("--bind", str(folder), str(folder))  # root may write whatever the mode says
    try:
        _made_read_only(folder)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, *, mib: int) -> Iterator[bool]:
    """A file system of its own for a folder; false where this user may not mount one."""
    try:
        mount("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*words: str) -> None:
    """`mount` of the system.

    Raises:
        PermissionError: this user or machine may not.
    """
    try:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise PermissionError(errno.EPERM, "there is no mount here") from error
    if done.returncode:
        raise PermissionError(errno.EPERM, done.stderr.strip())


def _made_read_only(folder: Path) -> None:
    for _ in range(200):  # busy while somebody writes there
        with contextlib.suppress(PermissionError):
            mount("-o", "remount,ro,bind", str(folder))
            return
        time.sleep(0.01)
    raise PermissionError(errno.EPERM, f"{folder} is never at rest")


def _remove(folder: Path) -> None:
    """Though others write there meanwhile."""
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError, OSError):
            shutil.rmtree(folder)
        if not folder.exists():
            return
