"""Hands cells to worker processes: one a CUDA device, or some that share the cores of a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from redshank.errors import ConfigError, MissingPartError
from redshank.records import as_dict, from_dict
from redshank.sigterm import sigterm_interrupts

from .cells import CellPlan
from .worker import Answer, Job

BUSY_POLL_S = 2.0
"""Time between two looks at cells that another bench trains."""
CHECKOUT = Path(__file__).resolve().parents[2]

Report = Callable[[CellPlan, Answer], None]


@dataclass(frozen=True)
class Slot:
    """Where one worker trains."""

    device: Literal["cpu", "cuda"]
    visible: str
    """CUDA_VISIBLE_DEVICES of the worker."""
    threads: int


def choose_slots(
    device: str, *, jobs: int | None, threads: int, cells: int, cuda: Sequence[str], cores: int
) -> tuple[Slot, ...]:
    """One worker a CUDA device where there are some, else one a core, and no more than cells.

    Args:
        device: `training.device`: auto, cpu or cuda.
        jobs: workers in all, dealt to the devices in turn; None: as above.
        threads: CPU threads of a worker; 0: the cores divided among the workers.
        cells: trainings that are to be done.
        cuda: names of the CUDA devices, as CUDA_VISIBLE_DEVICES takes them.
        cores: CPU cores of this process.

    Raises:
        ConfigError: jobs is below 1.
        MissingPartError: `cuda` is wanted and there is none.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs is {jobs}, expected at least 1")
    if device == "cuda" and not cuda:
        raise MissingPartError(
            "training.device is cuda, but torch sees no GPU", hint="See: redshank doctor"
        )
    places = list(cuda) if device != "cpu" else []
    count = min(jobs or len(places) or max(1, cores // max(1, threads)), max(1, cells))
    threads = threads or max(1, cores // count)
    if not places:
        return (Slot("cpu", "", threads),) * count
    return tuple(Slot("cuda", places[n % len(places)], threads) for n in range(count))


def cuda_devices() -> tuple[str, ...]:
    """The CUDA devices that this process may use, by the names that its children understand.

    A process of its own asks: torch takes half a gigabyte, and a context on a device that workers
    want whole.
    """
    code = "import torch; print(torch.cuda.device_count())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count = int(found.stdout.split()[-1])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return tuple(names[:count]) if names else tuple(str(n) for n in range(count))


def train_cells(
    plans: Sequence[CellPlan], command: Sequence[str], slots: Sequence[Slot], report: Report
) -> None:
    """Trains all cells; returns when each is done or has failed.

    Args:
        plans: cells, the first first.
        command: arguments of `training.bench.worker`.
        slots: a worker is started in each.
        report: called with every answer, from several threads but one at a time; with `busy` once a
            cell that another bench trains now, and again when that is done.
    """
    queue = _Queue(plans, report)
    with sigterm_interrupts():
        threads = [threading.Thread(target=_serve, args=(queue, command, slot)) for slot in slots]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            queue.stop()
            raise
        finally:
            for thread in threads:
                thread.join()
    if queue.error is not None:
        raise queue.error


class _Queue:
    """Cells still to be trained, shared by the slots."""

    def __init__(self, plans: Sequence[CellPlan], report: Report) -> None:
        self._plans = deque(plans)
        self._lock = threading.Lock()
        self._report = report
        self._workers: set[subprocess.Popen[str]] = set()
        self._busy: set[str] = set()
        self.stopped = False
        self.error: BaseException | None = None

    def take(self) -> CellPlan | None:
        with self._lock:
            return self._plans.popleft() if self._plans and not self.stopped else None

    def put_back(self, plan: CellPlan) -> bool:
        """To the end of the queue; returns whether it was there before."""
        with self._lock:
            self._plans.append(plan)
            again = plan.name in self._busy
            self._busy.add(plan.name)
            return again

    def answer(self, plan: CellPlan, answer: Answer) -> None:
        with self._lock:
            if not self.stopped:
                self._report(plan, answer)

    def start(self, command: Sequence[str], slot: Slot) -> subprocess.Popen[str]:
        with self._lock:
            worker = _start(command, slot)
            self._workers.add(worker)
            if self.stopped:
                worker.terminate()
            return worker

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            for worker in self._workers:
                if worker.poll() is None:
                    worker.terminate()


def _serve(queue: _Queue, command: Sequence[str], slot: Slot) -> None:
    """One slot's thread: cell after cell to a worker, a new one when it died."""
    worker = None
    try:
        while (plan := queue.take()) is not None:
            worker = worker or queue.start(command, slot)
            answer = _ask(worker, Job(plan, slot.device, slot.threads))
            if worker.poll() is not None:
                _end(worker)
                worker = None
            if answer.state == "busy" and queue.put_back(plan):
                time.sleep(BUSY_POLL_S)
            else:
                queue.answer(plan, answer)
    except BaseException as error:
        queue.error = error
        queue.stop()
    finally:
        if worker is not None:
            _end(worker)


def _start(command: Sequence[str], slot: Slot) -> subprocess.Popen[str]:
    threads = str(slot.threads)
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": slot.visible,
        "OMP_NUM_THREADS": threads,
        # threads that spin while they wait starve each other when cores are shared
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join(
            [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "training.bench.worker", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _ask(worker: subprocess.Popen[str], job: Job) -> Answer:
    assert worker.stdin is not None
    assert worker.stdout is not None
    with suppress(BrokenPipeError):  # it died: the end of its output says so
        worker.stdin.write(json.dumps(as_dict(job)) + "\n")
        worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        return Answer("failed", f"the worker ended with status {worker.wait()}")
    return from_dict(Answer, json.loads(line), source="worker")


def _end(worker: subprocess.Popen[str]) -> None:
    """Closes the pipes, which ends an idle worker, and waits."""
    for pipe in (worker.stdin, worker.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.close()
    worker.wait()
