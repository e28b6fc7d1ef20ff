"""The `redshank` command as a user runs it: verbs that end, programs that stay in the background.

Time and peak memory of each are measured. Everything started here is stopped on the way out.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import StageError

GRACE_S = 15.0
"""Time a background program has to end by itself after SIGTERM."""


@dataclass(frozen=True)
class Finished:
    """A verb that ended."""

    exit_status: int
    stdout: str
    seconds: float
    peak_memory_mib: float


class Program:
    """A verb that keeps running; its output goes to a log file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.log = name, log
        self._process = process
        self._peak_mib = 0.0

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def peak_memory_mib(self) -> float:
        """Sum over its processes of the most memory each one held; 0 where /proc is missing."""
        if self.alive:
            self._peak_mib = max(self._peak_mib, _tree_peak_mib(self._process.pid))
        return self._peak_mib

    def require_alive(self) -> None:
        """Raise with the end of the log if it has died.

        Raises:
            StageError: it ended although it was to stay.
        """
        if not self.alive:
            raise StageError(
                f"`redshank {self.name}` ended with status {self._process.returncode}:\n"
                f"{_tail(self.log)}",
                hint=f"All of its output is in {self.log}.",
            )

    def stop(self) -> None:
        """End it and everything that it started: SIGTERM, then SIGKILL after a while."""
        _ = self.peak_memory_mib
        for sign, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            _signal_group(self._process.pid, sign)
            try:
                self._process.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue
            break
        _signal_group(self._process.pid, signal.SIGKILL)  # workers that outlived their parent


def run_verb(
    arguments: Sequence[str], *, cwd: Path, config: Path, accepted: tuple[int, ...] = (0,)
) -> Finished:
    """Run `redshank <arguments>` to its end; its talk (stderr) stays on the terminal.

    Raises:
        StageError: the exit status is not among `accepted`.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        _command(arguments, config), cwd=cwd, env=_environment(), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        stdout = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode not in accepted:
        raise StageError(
            f"`redshank {' '.join(arguments)}` ended with status {process.returncode}",
            hint="Its own words are above.",
        )
    seconds = time.monotonic() - began
    return Finished(process.returncode, stdout, seconds, usage.ru_maxrss / 1024)


@contextmanager
def background(
    arguments: Sequence[str], *, cwd: Path, config: Path, log: Path
) -> Iterator[Program]:
    """Run `redshank <arguments>` while the block lasts."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(arguments, config),
            cwd=cwd,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C reaches the demo, which then stops them in order
        )
    program = Program(arguments[0], process, log)
    try:
        yield program
    finally:
        program.stop()


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that background programs are stopped then, too."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(arguments: Sequence[str], config: Path) -> list[str]:
    verb, *rest = arguments
    return [sys.executable, "-m", "redshank", verb, "--config", str(config), *rest]


def _environment() -> dict[str, str]:
    """Threads of a training sleep while they wait for each other, unless the user says otherwise.

    By default they spin: beside a server on two cores a step then takes 1.4 s instead of 0.05 s.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def _signal_group(pid: int, sign: signal.Signals) -> None:
    try:
        os.killpg(pid, sign)
    except (ProcessLookupError, PermissionError):
        return


def _tail(log: Path, lines: int = 15) -> str:
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in text)


def _tree_peak_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own_kib = next((int(s.split()[1]) for s in status.splitlines() if s.startswith("VmHWM")), 0)
    return own_kib / 1024 + sum(_tree_peak_mib(int(child)) for child in children)
