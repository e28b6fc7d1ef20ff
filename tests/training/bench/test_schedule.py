from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from redshank.errors import ConfigError, MissingPartError
from redshank.settings import TrainingSettings
from training.bench import schedule
from training.bench.cells import CellPlan
from training.bench.schedule import Slot, choose_slots, train_cells
from training.bench.worker import Answer

WORKER = """
import json, os, sys, time
from pathlib import Path
log = Path(sys.argv[1])
for line in sys.stdin:
    plan = json.loads(line)["plan"]
    if plan["method"] == "dies":
        os._exit(3)
    if plan["method"] == "sleeps":
        time.sleep(60)
    seen = log.read_text().split() if log.exists() else []
    with log.open("a") as file:
        file.write(plan["method"] + "\\n")
    first = plan["method"] not in seen
    state = "busy" if plan["method"].startswith("busy") and first else "done"
    print(json.dumps({"state": state, "message": os.environ["CUDA_VISIBLE_DEVICES"]}), flush=True)
"""
SLOT = Slot("cpu", "", 1)


def plan(method: str) -> CellPlan:
    return CellPlan(method, "target", 10, 0, "data", TrainingSettings(seed=abs(hash(method)) % 99))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Workers that answer by the method's name, and note what they were asked."""

    def start(command: Sequence[str], slot: Slot) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"CUDA_VISIBLE_DEVICES": slot.visible},
        )

    monkeypatch.setattr(schedule, "_start", start)
    monkeypatch.setattr(schedule, "BUSY_POLL_S", 0.01)
    return tmp_path / "log"


def answers(log: Path, methods: Sequence[str], slots: Sequence[Slot]) -> list[tuple[str, Answer]]:
    found: list[tuple[str, Answer]] = []
    train_cells(
        [plan(method) for method in methods],
        [str(log)],
        slots,
        lambda one, answer: found.append((one.method, answer)),
    )
    return found


def test_every_slot_trains_on_its_own_device(log: Path) -> None:
    methods = [f"m{n}" for n in range(8)]
    slots = [Slot("cuda", "0", 1), Slot("cuda", "3", 1)]
    found = answers(log, methods, slots)
    assert sorted(method for method, _ in found) == methods
    assert {answer.message for _, answer in found} <= {"0", "3"}
    assert sorted(log.read_text().split()) == methods


def test_a_dead_worker_fails_its_cell_alone(log: Path) -> None:
    found = dict(answers(log, ["a", "dies", "b"], [SLOT]))
    assert found["dies"] == Answer("failed", "the worker ended with status 3")
    assert (found["a"].state, found["b"].state) == ("done", "done")


def test_cells_of_another_bench_are_waited_for(log: Path) -> None:
    found = answers(log, ["busy-1", "busy-2", "a"], [SLOT])
    states = [(method, answer.state) for method, answer in found]
    assert states == [
        ("busy-1", "busy"),
        ("busy-2", "busy"),
        ("a", "done"),
        ("busy-1", "done"),
        ("busy-2", "done"),
    ]


def test_an_interruption_ends_the_workers(log: Path) -> None:
    def interrupt(_plan: CellPlan, _answer: Answer) -> None:
        raise KeyboardInterrupt

    plans = [plan("sleeps"), plan("a")]
    with pytest.raises(KeyboardInterrupt):
        train_cells(plans, [str(log)], [SLOT, SLOT], interrupt)


def test_slots_share_devices_or_cores() -> None:
    def choose(device: str, jobs: int | None, threads: int = 0) -> tuple[Slot, ...]:
        cuda = ("0", "5") if device != "cpu" else ()
        return choose_slots(device, jobs=jobs, threads=threads, cells=6, cuda=cuda, cores=8)

    assert choose("auto", None) == (Slot("cuda", "0", 4), Slot("cuda", "5", 4))
    assert [slot.visible for slot in choose("cuda", 3)] == ["0", "5", "0"]
    assert choose("cpu", None) == (Slot("cpu", "", 1),) * 6
    assert choose("cpu", 2) == (Slot("cpu", "", 4),) * 2
    assert choose("cpu", None, threads=4) == (Slot("cpu", "", 4),) * 2


def test_impossible_slots_are_refused() -> None:
    with pytest.raises(ConfigError, match="--jobs is 0"):
        choose_slots("cpu", jobs=0, threads=0, cells=1, cuda=(), cores=2)
    with pytest.raises(MissingPartError, match="torch sees no GPU"):
        choose_slots("cuda", jobs=None, threads=0, cells=1, cuda=(), cores=2)
