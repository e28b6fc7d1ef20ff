import signal
import sys
import time
from pathlib import Path

import pytest

from demo import processes
from demo.processes import background, run_verb, terminate_as_interrupt
from redshank.errors import StageError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "redshank.toml"
    path.write_text("[training]\nseed = 1\n")
    return path


def run_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `arguments` be a name and a script instead of a verb of the command."""
    monkeypatch.setattr(
        processes, "_command", lambda arguments, _config: [sys.executable, "-c", arguments[1]]
    )


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_run_verb_runs_the_real_command(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StageError, match=r"data check nowhere.jsonl` ended with status 1"):
        run_verb(["data", "check", "nowhere.jsonl"], cwd=Path.cwd(), config=config)
    assert "nowhere.jsonl does not exist" in capfd.readouterr().err


def test_run_verb_measures(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    run_python(monkeypatch)
    script = "import time; x = bytearray(64 << 20); time.sleep(0.2); print('done'); exit(3)"
    finished = run_verb(["x", script], cwd=config.parent, config=config, accepted=(0, 3))
    assert finished.stdout == "done\n"
    assert finished.exit_status == 3
    assert finished.seconds >= 0.2
    assert finished.peak_memory_mib > 64


def test_background_stops_the_program_and_its_children(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    run_python(monkeypatch)
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); print('up', flush=True); time.sleep(600)"
    )
    log = config.parent / "logs" / "x.log"
    with background(["x", script], cwd=config.parent, config=config, log=log) as program:
        wait_for(log, "up")
        program.require_alive()
        assert program.peak_memory_mib > 1
        child = int(log.read_text().split()[0])
    assert not program.alive
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and "Z" not in state(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_a_program_that_died_shows_its_last_words(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    run_python(monkeypatch)
    log = config.parent / "x.log"
    script = "print('no such port', flush=True); exit(4)"
    with background(["x", script], cwd=config.parent, config=config, log=log) as program:
        while program.alive:
            time.sleep(0.02)
        with pytest.raises(StageError, match="no such port"):
            program.require_alive()


def test_sigterm_becomes_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
        signal.raise_signal(signal.SIGTERM)


def test_threads_of_verbs_wait_without_spinning(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    run_python(monkeypatch)
    script = "import os; print(os.environ['OMP_WAIT_POLICY'])"
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert run_verb(["x", script], cwd=config.parent, config=config).stdout == "PASSIVE\n"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert run_verb(["x", script], cwd=config.parent, config=config).stdout == "ACTIVE\n"
