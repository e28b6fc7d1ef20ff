"""kill -9 at any moment loses no event and counts none twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from redshank.store.monitor import open_monitor
from tests.monitoring.field import START, Site, Station, write_spool, write_test_bundle

ROOT = Path(__file__).resolve().parents[2]
TICKS = 60
SITES = [Site("home"), Site("fog", 35, spread=0.25)]
CHILD = """
import sys
from pathlib import Path
from tests.monitoring.field import START, Station
station = Station(Path(sys.argv[1]), now_s=START + float(sys.argv[2]))
evaluator = station.evaluator()
print("ready", flush=True)
evaluator.pass_once()
"""


def start(root: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(root), str(TICKS)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def ticks_done(root: Path) -> int:
    return len({w.tick for w in open_monitor(root / "monitor.db").windows(domain="home")})


def test_killed_again_and_again_it_ends_as_if_never_stopped(tmp_path: Path) -> None:
    for root in (tmp_path / "calm", tmp_path / "killed"):
        write_test_bundle(root / "bundles")
        events = write_spool(root / "spool", SITES, TICKS)
    calm = Station(tmp_path / "calm", now_s=START + TICKS)
    calm.evaluator().pass_once()

    rng, halts = random.Random(0), []
    for kill_from in (0, 12, 24, 36):
        with start(tmp_path / "killed") as child:
            while ticks_done(tmp_path / "killed") <= kill_from and child.poll() is None:
                time.sleep(rng.uniform(0.0, 0.02))  # then at any point of some tick's work
            child.send_signal(signal.SIGKILL)
        halts.append(ticks_done(tmp_path / "killed"))
    with start(tmp_path / "killed") as child:
        assert child.wait() == 0
    assert any(0 < done < TICKS for done in halts), halts  # at least one fell into the work

    stores = [open_monitor(tmp_path / name / "monitor.db") for name in ("calm", "killed")]
    first, second = ([s.memory for s in store.streams()] for store in stores)
    assert first == second
    assert stores[0].cursors() == stores[1].cursors()
    windows = [store.windows() for store in stores]
    assert sum(w.events for w in windows[1]) == events
    for mine, other in zip(*windows, strict=True):
        assert mine.cells_CZ.tobytes() == other.cells_CZ.tobytes()
        assert (mine.tick, mine.key, mine.relative) == (other.tick, other.key, other.relative)
    alarms = [[(a.alarm_id, a.kind, a.onset_s) for a in store.alarms()] for store in stores]
    assert alarms[0] == alarms[1]
    assert any(kind == "degraded" for _, kind, _ in alarms[1])
