from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from redshank.cli import main
from redshank.events import EventWriter
from redshank.store.control import open_control
from redshank.store.monitor import open_monitor
from tests.monitoring.field import START, Site, site_events, write_spool, write_test_bundle

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = ["monitoring.period_ticks=200", "monitoring.burn_in_scenes=150", "serving.flush_s=0.01"]


def options(root: Path) -> list[str]:
    return [word for s in (*SETTINGS, f"home.root={root}") for word in ("--set", s)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_test_bundle(tmp_path / "bundles")
    write_spool(tmp_path / "spool", [Site("home"), Site("fog", 35, spread=0.25)], 60)
    return tmp_path


def test_once_then_status_then_replay(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--once", "--tick", "1", *options(home)]) == 0
    assert "1200 events in 60 ticks" in capsys.readouterr().err
    long_ago = ["--set", f"monitoring.silent_after_s={time.time()}"]
    assert main(["watch", "status", "--json", *options(home), *long_ago]) == 3
    rows = {row["domain"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["home"]["state"] == "healthy"
    assert rows["fog"]["state"] == "degraded"
    assert rows["fog"]["images_until_alarm"] <= 150
    assert rows["fog"]["onset"].startswith("1970-01-12T")
    assert main(["watch", "replay", "--tick", "1", *options(home)]) == 0
    assert "2 streams rebuilt from windows, 0 differ" in capsys.readouterr().err
    assert main(["watch", "status", *options(home)]) == 0  # by now both are silent
    assert "silent    No event since" in capsys.readouterr().out


def test_accept_is_applied_by_the_next_pass_and_stands_in_the_audit_trail(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "--once", "--tick", "1", *options(home)]) == 0
    accept = ["watch", "accept", "--domain", "fog", "--actor", "eve", "--reason", "winter"]
    assert main([*accept, *options(home)]) == 0
    assert "version b1 of default learns fog anew" in capsys.readouterr().err
    time.sleep(1.1)  # until the tick of the word is over
    assert main(["watch", "--once", "--tick", "1", *options(home)]) == 0
    long_ago = ["--set", f"monitoring.silent_after_s={time.time()}"]
    assert main(["watch", "status", *options(home), *long_ago]) == 0  # nothing is degraded
    assert "learning  Learning anew" in capsys.readouterr().out
    assert main(["watch", "replay", "--tick", "1", *options(home)]) == 0
    assert main(["retrain", "audit", "--verify", *options(home)]) == 0
    assert "accepted as normal" in capsys.readouterr().out
    assert main(["watch", "accept", *options(home)]) == 2
    assert "needs a domain" in capsys.readouterr().err


def test_a_retired_domain_leaves_the_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--once", "--tick", "1", *options(home)]) == 0
    retire = ["watch", "retire", "--domain", "fog", "--actor", "eve", "--reason", "pole is gone"]
    assert main([*retire, *options(home)]) == 0
    said = capsys.readouterr().err
    assert "fog is forgotten by the evaluator within a tick" in said
    assert "its last image came at 1970-01-12T13:47:39.950Z" in said
    time.sleep(1.1)  # until the tick of the word is over
    assert main(["watch", "--once", "--tick", "1", *options(home)]) == 0
    capsys.readouterr()
    long_ago = ["--set", f"monitoring.silent_after_s={time.time()}"]
    assert main(["watch", "status", *options(home), *long_ago]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["home"]
    assert main(["watch", "replay", "--tick", "1", *options(home)]) == 0
    assert main(["retrain", "audit", "--verify", *options(home)]) == 0
    assert "retired" in capsys.readouterr().out
    assert main([*retire, *options(home)]) == 1
    assert "has seen no domain 'fog'" in capsys.readouterr().err
    assert main(["watch", "retire", *options(home)]) == 2
    assert "`redshank watch retire` needs a domain" in capsys.readouterr().err


def test_history_is_a_row_a_tick(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["watch", "--once", "--tick", "1", *options(home)])
    history = ["watch", "history", "--domain", "fog", *options(home)]
    assert main([*history, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["images"] for row in rows] == [10] * 60
    assert rows[0]["evidence"] == {}
    last = rows[-1]["evidence"]["relative"]
    assert last["confidence_log10"] > last["threshold_log10"]
    assert main(history) == 0
    assert "degraded relative 10^" in capsys.readouterr().out
    assert main(["watch", "history", "--domain", "fogg", *options(home)]) == 1
    assert "Did you mean 'fog'?" in capsys.readouterr().err


def test_the_trigger_reaches_the_control_database(home: Path) -> None:
    main(["watch", "--once", "--tick", "1", *options(home)])
    control = open_control(f"sqlite:///{home}/control.db")
    (trigger,) = control.triggers()
    assert trigger.domains == ("fog",)
    assert trigger.kind == "alarm"


def test_status_before_the_first_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "status", *options(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "monitor.db does not exist" in said
    assert "`redshank watch` begins" in said
    open_monitor(str(tmp_path / "monitor.db"))
    assert main(["watch", "status", *options(tmp_path)]) == 0
    assert "a tick of 300 s is counted when it is over" in capsys.readouterr().err


def test_running_refusing_a_second_and_stopping_on_sigterm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_test_bundle(tmp_path / "bundles")
    command = [sys.executable, "-m", "redshank", "watch", "--tick", "0.2", "--metrics-port", "0"]
    with subprocess.Popen(
        [*command, *options(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as child:
        assert child.stderr is not None
        began = child.stderr.readline()
        assert began.endswith("; no server has written to " + str(tmp_path / "spool") + " yet\n")
        address = re.search(r"http://[^;\s]+", began)
        assert address is not None
        assert main(["watch", "--once", "--tick", "0.2", *options(tmp_path)]) == 1
        assert "another evaluator already works on" in capsys.readouterr().err
        now = time.time()
        with EventWriter(tmp_path / "spool", "w") as writer:
            events = list(site_events(Site("home"), 1))
            writer.append(
                type(e)(**{**vars(e), "received_at": now + e.received_at - START - 1})
                for e in events
            )
        total = 0
        while total < len(events):
            total += int(re.match(r"(\d+) events", child.stderr.readline()).group(1))  # type: ignore[union-attr]  # else the test fails
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{address.group()}/metrics", timeout=10) as answer:
            assert b"redshank_domain_images_total" in answer.read()
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 0
    store = open_monitor(tmp_path / "monitor.db")
    assert sum(w.events for w in store.windows()) == 10
    with store.only_writer():
        pass
