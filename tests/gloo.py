"""Leaving a process group of gloo, as a worker of a test does at its end."""

from __future__ import annotations

import time
from pathlib import Path

import torch.distributed as dist

WITHIN_S = 10.0
"""The system lists a thread for a moment after it was joined."""


def leave_group() -> None:
    """Destroys the group, whose threads must end with it."""
    assert gloo_threads() or not Path("/proc/self/task").exists()
    dist.destroy_process_group()
    check_threads_ended()


def check_threads_ended() -> None:
    """That no thread of gloo outlives its group.

    One that lets go of its last work while the interpreter ends aborts the process ("terminate
    called without an active exception"): now and then, under load.
    """
    end_s = time.monotonic() + WITHIN_S
    while gloo_threads() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert gloo_threads() == []


def gloo_threads() -> list[str]:
    """Those of this process; empty where the system has no `/proc`."""
    found = []
    for path in Path("/proc/self/task").glob("*/comm"):
        try:
            found.append(path.read_text().strip())
        except OSError:
            continue  # it ended just now
    return [name for name in found if "gloo_runloop" in name]
