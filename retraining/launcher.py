"""Runs a stage as a subprocess: log file, time-out, clean stop, never two at once.

A stage holds a file lock that it inherits at its start. When the loop is killed, its stage runs on;
the next loop finds the lock taken, ends that process group and starts the stage anew, which goes on
from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from redshank.errors import StageError

POLL_S = 0.05
KILL_AFTER_S = 10.0
"""A stage that was asked to end gets so long to write its checkpoint."""
TAIL_BYTES = 2000


@dataclass(frozen=True)
class StageEnd:
    """How a stage ended."""

    status: Literal["done", "failed", "timeout", "stopped"]
    code: int
    tail: str
    """Last lines of its log."""


def run_stage(
    command: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    stop: Callable[[], bool],
    is_done: Callable[[], bool] = lambda: False,
) -> StageEnd:
    """Run one command to its end.

    Args:
        command: program and arguments.
        log: both output streams are appended here; `<log>.lock` guards the stage.
        timeout_s: longest time it may take.
        stop: asked many times a second; True ends the stage early.
        is_done: asked when no other is running the stage any more; True starts nothing.

    Raises:
        StageError: the program cannot be started, or a stage left over will not end.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(log.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take_lock(lock, log)
        if is_done():  # by one that a dead loop had left, while it was asked to end
            return StageEnd("done", 0, _tail(log))
        with log.open("ab") as output:
            process = _start(command, output.fileno(), lock)
            os.pwrite(lock, str(process.pid).encode(), 0)
            status = _wait(process, timeout_s, stop)
    finally:
        os.close(lock)
    return StageEnd(status, process.returncode, _tail(log))


def _start(command: Sequence[str], output: int, lock: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
        )
    except OSError as error:
        raise StageError(f"{command[0]} cannot be started: {error.strerror}") from error


def _wait(
    process: subprocess.Popen[bytes], timeout_s: float, stop: Callable[[], bool]
) -> Literal["done", "failed", "timeout", "stopped"]:
    end_s = time.monotonic() + timeout_s
    try:
        while process.poll() is None:
            if stop():
                _end_group(process)
                return "stopped"
            if time.monotonic() > end_s:
                _end_group(process)
                return "timeout"
            time.sleep(POLL_S)
    except BaseException:
        _end_group(process)
        raise
    return "done" if process.returncode == 0 else "failed"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_AFTER_S)
    _signal_group(process.pid, signal.SIGKILL)  # also children that it left behind
    process.wait()


def _take_lock(lock: int, log: Path) -> None:
    """Get the stage's lock; a stage that an earlier loop left behind is ended first."""
    end_s = time.monotonic() + 2 * KILL_AFTER_S
    asked = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            return
        except BlockingIOError:
            left_over = os.pread(lock, 20, 0).decode() or "0"
        if time.monotonic() > end_s:
            raise StageError(
                f"the stage of {log} still runs as process {left_over}",
                hint="End it, then start the loop again.",
            )
        if int(left_over):
            _signal_group(int(left_over), signal.SIGKILL if asked else signal.SIGTERM)
            asked = asked or time.monotonic() > end_s - KILL_AFTER_S
        time.sleep(POLL_S)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
