from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redshank.cli import main
from redshank.healing import Healing, State
from redshank.store.control import open_control
from redshank.store.control_schema import AUDIT
from redshank.store.engine import open_engine, write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path / "var"))
    return tmp_path / "var"


def proposed(home: Path) -> Healing:
    """A healing that waits for a person."""
    assert main(["retrain", "trigger", "--domains", "pier", "--actor", "ann"]) == 0
    store = open_control(f"sqlite:///{home}/control.db")
    healing = store.healings()[-1]
    path: tuple[State, ...] = ("snapshot", "training", "export", "gates", "proposed")
    for state in path:
        healing = store.transition(
            healing, state, reason="", actor="loop", lease=None, challenger="b-2"
        )
    return healing


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["retrain", "list", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert isinstance(values, list)
    return values


def test_trigger_list_audit(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["retrain", "trigger", "--domains", "quay, pier", "--reason", "new lamp"]
    assert main([*command, "--actor", "ann", "--since", "2026-11-01T00:00:00Z"]) == 0
    trigger_id = capsys.readouterr().out.strip()
    (row,) = listed(capsys)
    trigger = row["trigger"]
    assert isinstance(trigger, dict)
    assert (row["state"], trigger["trigger_id"]) == ("pending", trigger_id)
    assert (trigger["domains"], trigger["kind"], trigger["actor"]) == (
        ["pier", "quay"],
        "manual",
        "ann",
    )
    assert trigger["onset_at"] == "2026-11-01T00:00:00.000Z"
    assert trigger["evidence"] == {"reason": "new lamp"}
    assert main(["retrain", "list"]) == 0
    assert "pier,quay" in capsys.readouterr().out
    assert main([*command, "--since", "2026-11-01T00:00:00Z"]) == 1
    assert "was there already" in capsys.readouterr().err

    assert main(["retrain", "audit", "--verify", "--json"]) == 0
    streams = capsys.readouterr()
    assert [r["action"] for r in json.loads(streams.out)] == ["trigger"]
    assert "chain of 1 rows is whole" in streams.err
    engine = open_engine(home / "control.db")
    with write(engine) as connection:
        connection.execute(AUDIT.update().values(record=AUDIT.c.record.concat(" ")))
        connection.execute(AUDIT.update().values(record=AUDIT.c.record))
    assert main(["retrain", "audit"]) == 0


def test_a_forged_trail_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrain", "trigger", "--actor", "ann"]) == 0
    engine = open_engine(home / "control.db")
    with write(engine) as connection:
        (record,) = connection.execute(AUDIT.select()).one()[2:]
        connection.execute(AUDIT.update().values(record=record.replace("ann", "bob")))
    assert main(["retrain", "audit", "--verify"]) == 1
    assert "broken at row 1" in capsys.readouterr().err


def test_a_trigger_says_when_no_image_is_kept(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retrain", "trigger"]) == 0
    assert "serving.capture_domains" in capsys.readouterr().err
    (home / "field" / "pier").mkdir(parents=True)
    assert main(["retrain", "trigger", "--domains", "pier"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["retrain", "trigger", "--domains", "quay"]) == 0
    said = capsys.readouterr().err
    assert "no field image of 'quay' is captured yet (captured: pier)" in said
    assert "serving.capture_domains" in said


def test_approve(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    healing = proposed(home)
    assert main(["retrain", "approve", healing.healing_id, "--reason", "ok", "--actor", "eve"]) == 0
    (row,) = listed(capsys)
    assert (row["state"], row["reason"]) == ("shadow", "approved by eve: ok")
    assert main(["retrain", "approve", healing.healing_id]) == 1
    assert "not 'proposed'" in capsys.readouterr().err


def test_reject(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    healing = proposed(home)
    assert main(["retrain", "reject", healing.trigger_id, "--actor", "eve"]) == 0
    (row,) = listed(capsys)
    assert (row["state"], row["reason"]) == ("rejected", "rejected by eve")
    assert main(["retrain", "reject", healing.healing_id]) == 1
    assert "models rollback" in capsys.readouterr().err
    assert main(["retrain", "reject", "nothing"]) == 1
    assert main(["retrain", "trigger", "--domains", "quay"]) == 0
    waiting = capsys.readouterr().out.splitlines()[-1]
    assert main(["retrain", "reject", waiting]) == 0
    assert {row["state"] for row in listed(capsys)} == {"rejected", "vetoed"}


def test_loop_once_without_work(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrain", "loop", "--once"]) == 0
    assert main(["retrain", "trigger", "--domains", "pier"]) == 0
    trigger_id = capsys.readouterr().out.strip()
    assert main(["retrain", "run", "--trigger-id", trigger_id]) == 1
    streams = capsys.readouterr()
    assert "has no release yet" in streams.out
    assert "not finished" in streams.err
    assert main(["retrain", "run", "--trigger-id", "nothing"]) == 1
    store = open_control(f"sqlite:///{home}/control.db")
    assert store.acquire("other", ttl_s=60) is not None
    assert main(["retrain", "loop", "--once"]) == 0
    assert "holds the lease" in capsys.readouterr().err
    assert main(["retrain", "run", "--trigger-id", trigger_id]) == 1


def test_a_wrong_schedule_is_an_error_at_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retrain", "--set", "retraining.schedule=often", "loop", "--once"]) == 1
    assert "'often'" in capsys.readouterr().err
    assert not (home / "runs").exists()


def test_sigterm_ends_an_idle_loop(home: Path) -> None:
    options = ["--set", f"home.root={home}", "--set", "retraining.poll_s=0.2"]
    command = [sys.executable, "-m", "redshank", "retrain", *options, "loop"]
    loop = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end_s = time.monotonic() + 30
    store = open_control(f"sqlite:///{home}/control.db")
    while (lease := store.acquire("test", ttl_s=60)) is not None:
        store.release(lease)
        assert time.monotonic() < end_s
        time.sleep(0.1)
    loop.send_signal(signal.SIGTERM)
    _, said = loop.communicate(timeout=30)
    assert loop.returncode == 0
    assert said == "working on triggers of default; retraining.mode is propose\n"
    lease = store.acquire("test", ttl_s=60)
    assert lease is not None
    assert not lease.took_over


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("live", 0),
        ("proposed", 0),
        ("superseded", 0),
        ("failed", 1),
        ("training", 1),
        ("rejected", 3),
    ],
)
def test_run_tells_a_scheduler_how_it_stands(
    home: Path, monkeypatch: pytest.MonkeyPatch, state: State, status: int
) -> None:
    healing = dataclasses.replace(proposed(home), state=state)
    monkeypatch.setattr("retraining.loop.run_trigger", lambda *_arguments, **_named: healing)
    assert main(["retrain", "run", "--trigger-id", healing.trigger_id]) == status


def test_a_user_without_a_name(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1000700000")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert main(["retrain", "list"]) == 0
    assert "no healing yet" in capsys.readouterr().err
    assert main(["retrain", "trigger", "--domains", "peir"]) == 0
    assert "no field image of 'peir'" in capsys.readouterr().err
    store = open_control(f"sqlite:///{home}/control.db")
    assert store.triggers()[0].actor.startswith("uid ")
