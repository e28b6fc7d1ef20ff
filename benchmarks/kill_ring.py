"""SIGKILL at random moments to every process of a turning ring: what is lost, doubled, half done?

    python -m benchmarks.kill_ring --seeds 0 1 2 --kills 12 --minutes 3

Server (two workers), evaluator and retraining loop work on real traffic of four sites; one site
goes bad, an alarm follows, healings follow one another. Meanwhile serving workers, their
supervisor, the evaluator, the loop, the training child and the export child are killed at moments
drawn from the seed, and what a system supervisor would start again is started again. At the end
everything that was promised is compared with everything that is on disk. Prints a Markdown table, a
column a seed; exit status 1 when a promise was broken. The small world is made once, in a minute or
two, and kept under var/prove; each run leaves its home there.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from demo.uploads import Service, Upload
from redshank.files import to_json, write_atomic
from redshank.healing import ENDS
from redshank.records import as_dict
from redshank.store.control import ControlStore, open_control
from redshank.trigger import make_trigger

from .kill_checks import Finding, Observed, check_everything
from .kill_processes import VERBS, Kind, Programs, talk_of
from .kill_schedule import Plan, draw_plan
from .kill_traffic import ReadyLog, Traffic
from .kill_watcher import Watcher
from .kill_world import HARMED, MODEL, Arena, make_arena, photograph_sites, prepare_world

EVERY_S = 0.12
"""Pause of each of the four clients between two requests."""
CALM_S = 15.0
"""So long nothing is killed: the sites' burn-in."""
ONSET_S = 22.0
"""When two sites change."""
READY_S = 120.0
SETTLE_S = 240.0
"""Longest wait for healings to end after the last kill."""
STEP_S = 0.05
IDLE_S = 2.0
"""So long after the last healing ended a person asks for the next."""
Streams = dict[str, list[Upload]]


def main() -> int:
    """Attack once a seed, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each")
    parser.add_argument("--kills", type=int, default=12, help="of each run")
    parser.add_argument("--minutes", type=float, default=3.0, help="length of each attack")
    parser.add_argument("--out", type=Path, default=Path("var/prove"))
    options = parser.parse_args()
    turn = prepare_world(options.out / "world")
    columns: dict[int, list[Finding]] = {}
    for seed in options.seeds:
        home = (options.out / f"kill-{seed}").resolve()
        arena = make_arena(turn.workspace.root, home, seed=seed)
        plan = draw_plan(options.kills, seconds=60 * options.minutes, calm_s=CALM_S, seed=seed)
        observed = Attack(arena, plan).run(*photograph_sites(turn), seconds=60 * options.minutes)
        columns[seed] = check_everything(home, MODEL, observed)
        failed = [reply for reply in observed.replies if not reply.ok]
        record = {"findings": columns[seed], "kills": observed.kills, "failed": failed}
        rows = {name: [as_dict(row) for row in values] for name, values in record.items()}
        write_atomic(home / "kill_ring.json", to_json(rows))
    print_table(columns)
    return int(any(finding.ok is False for column in columns.values() for finding in column))


class Attack:
    """One run: `run` reads from top to bottom."""

    def __init__(self, arena: Arena, plan: Plan) -> None:
        self.arena, self.plan = arena, plan
        self.programs = Programs(arena)
        self.control: ControlStore = open_control(f"sqlite:///{arena.home / 'control.db'}")
        self._steady = list(plan.steady)
        self._stages = {kind: list(delays) for kind, delays in plan.stages.items()}
        self._due: dict[int, float] = {}  # stage process -> when to kill it
        self._idle_since = float("inf")

    def run(self, well: Streams, changed: Streams, *, seconds: float) -> Observed:
        """Attack a healthy ring for `seconds`, let it come to rest, return what was seen."""
        service = Service(self.arena.port)
        traffic, ready = Traffic(service, EVERY_S), ReadyLog(Service(self.arena.port))
        watcher = Watcher(self.arena.home, MODEL)
        left: list[str] = []
        try:
            for name in VERBS:
                self.programs.start(name)
            service.wait_ready(READY_S, lambda: None)
            for thread in (ready, watcher):
                thread.start()
            traffic.start(well)
            began = time.monotonic()
            is_well = True
            while (elapsed := time.monotonic() - began) < seconds:
                if is_well and elapsed > ONSET_S:
                    traffic.change(changed)
                    is_well = False
                self._step(elapsed)
                time.sleep(STEP_S)
            traffic.stop()
            self._come_to_rest()
        finally:
            watcher.stop()
            ready.stop()
            left = self.programs.stop()
            self.control.close()
        return Observed(
            replies=tuple(traffic.replies),
            kills=tuple(self.programs.kills),
            starts=dict(self.programs.starts),
            ready_samples=tuple(ready.samples),
            samples=watcher.samples,
            verified=watcher.verified,
            problems=tuple(watcher.problems),
            left=tuple(left),
            replay=talk_of(self.arena, "watch", "replay"),
        )

    def _step(self, elapsed: float) -> None:
        self.programs.supervise()
        while self._steady and self._steady[0][0] <= elapsed:
            _, kind = self._steady[0]
            victims = self.programs.victims(kind)
            if not victims:
                break  # it is just being started again
            self._steady.pop(0)
            self._kill(kind, victims[len(self._steady) % len(victims)])
        for kind, delays in self._stages.items():
            for pid in self.programs.victims(kind) if delays else ():
                now = time.monotonic()
                if now >= self._due.setdefault(pid, now + delays[0]):
                    delays.pop(0)
                    self._kill(kind, pid)
                    break
        if elapsed > ONSET_S:
            self._keep_busy()

    def _kill(self, kind: Kind, pid: int) -> None:
        healings = self.control.healings()
        newest = max(healings, key=lambda healing: healing.healing_id, default=None)
        state = "no healing yet" if newest is None else newest.state
        self.programs.kill(kind, pid, state)
        _say(f"killed {kind} {pid} ({state})")

    def _keep_busy(self) -> None:
        """After the alarm's own healing has ended, ask for another one, as a person would."""
        now = time.monotonic()
        healings = self.control.healings()
        if not healings or not self._is_at_rest():
            self._idle_since = float("inf")
            return
        self._idle_since = min(self._idle_since, now)
        if now - self._idle_since > IDLE_S:
            self._idle_since = float("inf")
            trigger = make_trigger(
                kind="manual",
                model=MODEL,
                domains=(HARMED,),
                onset_at_s=None,
                created_at_s=time.time(),
                actor="kill_ring",
                evidence={"reason": "keeps the loop busy"},
            )
            self.control.add_trigger(trigger)

    def _come_to_rest(self) -> None:
        """Kill no more; wait until healings have ended and the evaluator had its last tick."""
        end = time.monotonic() + SETTLE_S
        while not self._is_at_rest() and time.monotonic() < end:
            self.programs.supervise()
            time.sleep(STEP_S)
        rest_s = time.monotonic() + 15.0  # restarts, flushes and three ticks
        while time.monotonic() < rest_s:
            self.programs.supervise()
            time.sleep(STEP_S)

    def _is_at_rest(self) -> bool:
        return all(h.state in ENDS or h.state == "proposed" for h in self.control.healings())


def print_table(columns: dict[int, list[Finding]]) -> None:
    """A row a promise, a column a seed."""
    print("| | " + " | ".join(f"seed {seed}" for seed in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for row in zip(*columns.values(), strict=True):
        cells = [f"{f.value}{' **BROKEN**' if f.ok is False else ''}" for f in row]
        print(f"| {row[0].name} | " + " | ".join(cells) + " |")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
