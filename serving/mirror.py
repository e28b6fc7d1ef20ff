"""Field images go to another storage: `redshank field push` beside the workers, once in a while.

A process of its own at low priority, one on a machine at a time: uploads cost no request anything,
and whatever a storage's library does, it does not do it in a worker. Each worker looks whether a
pass is due; the lock file says when the last one began.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from redshank.settings import Settings

from .metrics import Metrics

COUNTED = ("uploaded", "removed", "forgotten", "failed", "left")
log = logging.getLogger("redshank.serving")


class Mirror:
    """Runs passes; used from one thread.

    Args:
        command: a pass that prints a JSON object of counts.
        lock: file that the workers of a home share.
        every_s: seconds from the begin of a pass to that of the next.
        metrics: the worker's series.
        niceness: of a pass.
    """

    def __init__(
        self,
        command: Sequence[str],
        lock: Path,
        *,
        every_s: float,
        metrics: Metrics,
        niceness: int = 10,
    ) -> None:
        self._command, self._lock, self._niceness = tuple(command), lock, niceness
        self._every_s, self._mirrored = every_s, metrics.mirrored
        self._passes = {name: metrics.mirror_passes.labels(name) for name in ("ok", "failed")}
        self._running: _Pass | None = None
        self._look_again_at = 0.0
        self._failing = False

    def look(self) -> None:
        """Begin a pass that is due, and see what became of one that runs; never raises."""
        try:
            if self._running is not None:
                self._see(self._running)
            elif time.monotonic() >= self._look_again_at:
                self._look_again_at = time.monotonic() + min(self._every_s, 10.0)
                self._begin()
        except (OSError, ValueError) as error:  # a full disk, or a process that printed no JSON
            self._fail(str(error))

    def stop(self) -> None:
        """End a pass that runs; the next one goes on."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def _begin(self) -> None:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(handle)
            is_first = status.st_size == 0
            if is_first or not 0 <= time.time() - status.st_mtime < self._every_s:
                os.pwrite(handle, b"+", 0)  # its change time is when the pass began
                self._running = _Pass(self._command, handle, self._niceness)
                return
        except BlockingIOError:  # another worker's
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)

    def _see(self, running: _Pass) -> None:
        if not running.has_ended:
            return
        self._running = None
        printed, said = running.end()
        if not printed:
            self._fail(said or "the pass was killed")
            return
        counts: dict[str, Any] = json.loads(printed)
        for outcome in COUNTED:
            self._mirrored.labels(outcome).inc(counts[outcome])
        if counts["failed"] or counts["left"]:
            self._fail("; ".join(counts["problems"]) or "it was cut")
            return
        self._passes["ok"].inc()
        if self._failing:
            self._failing = False
            log.warning("field images are mirrored again")

    def _fail(self, why: str) -> None:
        """Count a pass that failed; say it once, not at each."""
        self._passes["failed"].inc()
        if not self._failing:
            log.error("field images are not mirrored, they stay here: %s", why)
        self._failing = True


class _Pass:
    """One running process and the lock it runs under."""

    def __init__(self, command: Sequence[str], lock: int, niceness: int) -> None:
        self._lock = lock
        # files, not pipes: nobody reads while it runs
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(command, stdout=self._printed, stderr=self._said)
        with suppress(OSError):  # it ended already
            os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> tuple[str, str]:
        """What it printed and said, after its end."""
        if not self.has_ended:
            self._process.terminate()
            self._process.wait()
        os.close(self._lock)
        words = []
        for file in (self._printed, self._said):
            with file:
                file.seek(0)
                words.append(file.read().decode(errors="replace").strip())
        return words[0], words[1][-1000:]  # of what it said, the end is the reason


def mirror_of(settings: Settings, metrics: Metrics) -> Mirror | None:
    """The mirror of a worker; None where none is wished."""
    url = settings.mirror.push_to
    if not url:
        return None
    field = settings.home.path("field").absolute()
    own = ("--set", f"home.root={Path(settings.home.root).absolute()}")
    command = (sys.executable, "-m", "redshank", "field", "push", url, "--json", *own)
    lock = field / ".state" / "mirror.lock"
    return Mirror(command, lock, every_s=settings.mirror.every_s, metrics=metrics)
