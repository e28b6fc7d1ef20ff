from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redshank.errors import StageError
from retraining import launcher
from retraining.launcher import run_stage


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def never() -> bool:
    return False


def test_both_streams_go_to_the_log_and_the_status_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "training.log"
    code = "import sys; print('out'); print('bad luck', file=sys.stderr); sys.exit(3)"
    end = run_stage(python(code), log=log, timeout_s=30, stop=never)
    assert (end.status, end.code) == ("failed", 3)
    assert set(end.tail.splitlines()) == {"out", "bad luck"}
    end = run_stage(python("print('again')"), log=log, timeout_s=30, stop=never)
    assert (end.status, end.code) == ("done", 0)
    assert end.tail.endswith("again")
    assert "bad luck" in log.read_text()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="cannot be started"):
        run_stage(["/nowhere/python"], log=tmp_path / "a.log", timeout_s=1, stop=never)


def test_stop_and_timeout_end_the_whole_group(tmp_path: Path) -> None:
    child = "import subprocess, sys, time; " + (
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(c.pid, flush=True); time.sleep(60)"
    )
    log = tmp_path / "a.log"

    def child_is_there() -> bool:
        return log.exists() and log.read_text().strip().isdigit()

    end = run_stage(python(child), log=log, timeout_s=60, stop=child_is_there)
    assert (end.status, end.code) == ("stopped", -signal.SIGTERM)
    wait_for_end(int(end.tail))
    log.unlink()
    end = run_stage(python(child), log=log, timeout_s=0.3, stop=never)
    assert end.status == "timeout"


def test_a_stage_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "KILL_AFTER_S", 0.3)
    log = tmp_path / "a.log"
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )
    end = run_stage(python(code), log=log, timeout_s=60, stop=lambda: "deaf" in log.read_text())
    assert (end.status, end.code) == ("stopped", -signal.SIGKILL)


def leave_behind(log: Path, stage: str) -> int:
    """Pid of a stage whose loop was killed after the first output."""
    code = (
        "from pathlib import Path; from retraining.launcher import run_stage; import sys; "
        f"run_stage([sys.executable, '-c', {stage!r}], log=Path({str(log)!r}), "
        "timeout_s=60, stop=lambda: False)"
    )
    loop = subprocess.Popen(python(code))
    end_s = time.monotonic() + 30
    while not (log.exists() and log.read_text()):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    loop.kill()
    loop.wait()
    orphan = int(log.with_suffix(".lock").read_text())
    os.kill(orphan, 0)
    return orphan


def test_a_stage_left_by_a_dead_loop_is_ended_first(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    orphan = leave_behind(log, "import time; print('up', flush=True); time.sleep(60)")
    end = run_stage(python("print('new')"), log=log, timeout_s=30, stop=never)
    assert (end.status, end.tail) == ("done", "up\nnew")
    wait_for_end(orphan)


def test_what_it_publishes_as_it_is_ended_is_not_made_again(tmp_path: Path) -> None:
    log, published = tmp_path / "a.log", tmp_path / "published"
    stage = f"""
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path({str(published)!r}).touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""
    orphan = leave_behind(log, stage)
    assert not published.exists()
    new = python("print('new')")
    end = run_stage(new, log=log, timeout_s=30, stop=never, is_done=published.exists)
    assert (end.status, end.code, end.tail) == ("done", 0, "up")
    wait_for_end(orphan)
    again = run_stage(new, log=log, timeout_s=30, stop=never)  # the lock is free
    assert again.tail == "up\nnew"


def wait_for_end(process: int) -> None:
    end_s = time.monotonic() + 10
    while True:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        assert time.monotonic() < end_s, "it still runs"
        time.sleep(0.01)
