"""What killed workers leave in the metrics folder: gauges that must go, events that died in memory.

A worker's counters are files that outlive SIGKILL. Each image it counted had its event written to
the spool, was counted as dropped, or was still in memory: the difference died with the worker. It
is added to the dead worker's own file, so that counting it again finds nothing.

A full disk must not end a worker either: writing to a mapped file that has no place on it is
SIGBUS, so every worker takes the place of its files before it starts.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of `prometheus_client`."""
PREDICTIONS, WRITTEN = "redshank_predictions", "redshank_events_written"
DROPPED = "redshank_events_dropped"
DROPPED_MEANING = "Events that never reached the spool or were deleted with it, by reason."
KILLED, DELETED, FAULT = "worker_killed", "file_deleted", "internal"
"""Reasons. Events of deleted files were written before."""
REASONS = ("queue_full", "spool_error", "shutdown", KILLED, DELETED, FAULT)
_RESERVED = {"counter": 512 * 1024, "histogram": 256 * 1024, "gauge_livemin": 64 * 1024}
"""Bytes of a worker's files: some thousand series, as many as `serving.max_domains` makes."""
_MappedFile: Any = MmapedDict  # untyped in prometheus_client
_TORN = (RuntimeError, ValueError, struct.error)
log = logging.getLogger("redshank.serving")


def reserve_files() -> None:
    """Take the place that this process's series need, elsewhere when the disk is full."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    try:
        _reserve(Path(folder))
    except OSError as error:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="redshank-metrics-", dir=_memory())
        log.error(
            "%s has no place for metrics, /metrics shows this worker alone: %s", folder, error
        )
        _reserve(Path(os.environ[FOLDER]))


def _reserve(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, size in _RESERVED.items():
        path = folder / f"{kind}_{os.getpid()}.db"
        if path.exists():  # of a dead process with our id: its counts go on
            continue
        try:
            with path.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def keep_place() -> None:
    """Take the place of files that have grown since; a full disk is asked again next time."""
    folder = os.environ.get(FOLDER)
    for kind in _RESERVED if folder else ():
        path = Path(str(folder)) / f"{kind}_{os.getpid()}.db"
        with suppress(OSError), path.open("r+b") as file:
            status = os.fstat(file.fileno())
            if status.st_blocks * 512 < status.st_size:
                os.posix_fallocate(file.fileno(), 0, status.st_size)


def _memory() -> str | None:
    """A file system in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def forget_dead_workers(*, events: bool = True) -> None:
    """Drop the gauges of killed workers and count what died in their memory; says so in the log.

    Args:
        events: whether answers leave events here at all.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    for path in sorted(Path(folder).glob("counter_*.db")):
        pid = path.stem.rsplit("_", 1)[1]
        if not pid.isdigit() or _is_alive(int(pid)):
            continue
        mark_process_dead(int(pid), folder)  # type: ignore[no-untyped-call]  # untyped
        try:
            lost = count_lost(path) if events else 0
        except (OSError, *_TORN) as error:  # a full disk; a later call finds the same
            log.error("what worker %s had in memory cannot be counted: %s", pid, error)
            continue
        _give_back(Path(folder), pid)
        if lost:
            log.error("worker %s was killed: %d events in its memory are lost", pid, lost)


def _give_back(folder: Path, pid: str) -> None:
    """What a dead worker's files do not use: a worker that dies at every start fills no disk."""
    for path in folder.glob(f"*_{pid}.db"):
        with suppress(OSError, struct.error), path.open("r+b") as file:
            (used,) = struct.unpack("i", file.read(4))
            if 8 <= used < os.fstat(file.fileno()).st_size:
                file.truncate(used)


def lost_in(folder: Path) -> int:
    """Events that died in the memory of killed workers and were not counted yet."""
    lost = 0
    for path in folder.glob("counter_*.db"):
        with suppress(OSError, *_TORN):
            lost += _lost(path)
    return lost


def count_lost(path: Path) -> int:
    """Count a dead worker's lost events as dropped, in its own file; returns how many.

    Raises:
        OSError: the disk is full or the file gone; nothing was counted.
    """
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several workers may start together
        lost = _lost(path)
        if lost > 0:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            values = _MappedFile(str(path))
            key = mmap_key(DROPPED, f"{DROPPED}_total", ["reason"], [KILLED], DROPPED_MEANING)
            values.write_value(key, values.read_value(key)[0] + lost, 0.0)
            values.close()
        return lost


def _lost(path: Path) -> int:
    """Images counted in a worker's file whose events are neither written nor dropped."""
    sums: Counter[str] = Counter()
    if path.stat().st_size == 0:  # killed before it counted anything
        return 0
    for key, value, _, _ in _MappedFile.read_all_values_from_file(str(path)):
        metric, name, labels, _ = json.loads(key)
        if name == f"{metric}_total" and labels.get("reason") != DELETED:
            sums[metric] += round(value)
    return sums[PREDICTIONS] - sums[WRITTEN] - sums[DROPPED]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except ProcessLookupError:
        return False
    except (OSError, IndexError):  # another user's process, or no /proc here
        return True
    return state != "Z"  # dead, and not yet waited for
