"""The programs of a ring under fire: started, killed with SIGKILL, started again as systemd would.

Workers of the server are not restarted here: their supervisor does that. Stages (training, export)
are children of the loop, which starts them again or gives the healing up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from demo.workspace import CHECKOUT

from .kill_world import Arena

Kind = Literal["worker", "server", "watch", "loop", "train", "export"]
KINDS: tuple[Kind, ...] = ("worker", "server", "watch", "loop", "train", "export")
TITLES: dict[Kind, str] = {
    "worker": "serving worker",
    "server": "serving supervisor",
    "watch": "evaluator",
    "loop": "retraining loop",
    "train": "training child",
    "export": "export child",
}
VERBS: dict[str, tuple[str, ...]] = {
    "server": ("serve",),
    "watch": ("watch",),
    "loop": ("retrain", "loop"),
}
RESTART_AFTER_S = 0.5
END_S = 60.0


@dataclass(frozen=True)
class Kill:
    """One SIGKILL."""

    kind: Kind
    pid: int
    at_s: float
    """Seconds since the epoch."""
    healing: str
    """What the newest healing was doing."""


@dataclass
class Programs:
    """Server, evaluator and loop of one home, kept running."""

    arena: Arena
    kills: list[Kill] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)
    """How often each was started."""
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _restart_at: dict[str, float] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one of `VERBS`, appending to its log."""
        verb, *rest = VERBS[name]
        self.arena.log_folder.mkdir(exist_ok=True)
        with (self.arena.log_folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command(self.arena, verb, *rest),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts[name] = self.starts.get(name, 0) + 1

    def supervise(self) -> None:
        """Start again whatever has died, half a second after it was noticed."""
        now = time.monotonic()
        for name, process in tuple(self._running.items()):
            if process.poll() is None:
                continue
            if now >= self._restart_at.setdefault(name, now + RESTART_AFTER_S):
                del self._restart_at[name]
                self.start(name)

    def victims(self, kind: Kind) -> list[int]:
        """Process ids of this kind that run now."""
        if kind in ("train", "export"):
            return stages_of(self.arena.home, kind)
        process = self._running["server" if kind == "worker" else kind]
        if process.poll() is not None:
            return []
        return workers_of(process.pid) if kind == "worker" else [process.pid]

    def kill(self, kind: Kind, pid: int, healing: str) -> None:
        """SIGKILL, and remember it."""
        os.kill(pid, signal.SIGKILL)
        self.kills.append(Kill(kind, pid, time.time(), healing))

    def stop(self) -> list[str]:
        """End all by SIGTERM; returns command lines of processes that are left, and kills them."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + END_S
        while processes_of(self.arena.home) and time.monotonic() < end:
            for process in self._running.values():
                process.poll()
            time.sleep(0.2)
        left = processes_of(self.arena.home)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return list(left.values())


def command(arena: Arena, verb: str, *rest: str) -> list[str]:
    """`redshank <verb>` of this arena."""
    return [sys.executable, "-m", "redshank", verb, *arena.options, *rest]


def talk_of(arena: Arena, verb: str, *rest: str) -> str:
    """Run a verb to its end; its last line on stderr."""
    finished = subprocess.run(
        command(arena, verb, *rest), cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    return (finished.stderr.strip().splitlines() or [f"status {finished.returncode}"])[-1]


def workers_of(supervisor: int) -> list[int]:
    """The server's worker processes."""
    try:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    except OSError:
        return []
    return [int(pid) for pid in children if "worker" in " ".join(arguments_of(int(pid)))]


def stages_of(home: Path, verb: str) -> list[int]:
    """Running `redshank train` or `redshank export` of this home, orphans too."""
    return [
        pid
        for pid, line in processes_of(home).items()
        if line.partition("-m redshank ")[2].startswith(f"{verb} ")
    ]


def processes_of(home: Path) -> dict[int, str]:
    """Every process that names this home, or that is a server's worker in it."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        line = " ".join(arguments_of(pid))
        if pid != os.getpid() and line and (str(home) in line or _serves(folder, home)):
            found[pid] = line
    return found


def arguments_of(pid: int) -> list[str]:
    """Command line of a process; empty when it has ended."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return []
    return text.rstrip("\0").split("\0") if text else []


def _serves(folder: Path, home: Path) -> bool:
    """Supervisor and workers name their home in the environment only."""
    try:
        environment = (folder / "environ").read_bytes()
    except OSError:
        return False
    return f"REDSHANK_SERVE_SETTINGS={home}".encode() in environment
