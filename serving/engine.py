"""The micro-batcher: whatever queued while the model was busy is the next batch.

There are two lanes. Small images for a small model run on the event loop itself: two thread
switches and a fight for the interpreter's lock a batch cost more than such a model. All others are
decoded and run in one thread, so that a photo of a phone or a large network holds up no request
that is being read, and no small image. Only on the loop a batch may wait a moment for clients who
come back at once (serving/gathering.py). A job that waits too long is answered 504 and dropped
before any work is spent on it; a job that would have to wait too long, by the time images took so
far, is refused at once (429), like one that finds the queue full.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from redshank.preprocess import ImageArray

from .gathering import WAIT_S, Gathering
from .refusal import Refusal
from .swap import Snapshot

LOOP_S = 0.005
"""Longest time that a batch holds the event loop."""
SWEEP_S = 0.25
"""Longest time between looks for jobs whose deadline has passed."""
log = logging.getLogger("redshank.serving")
Answer = TypeVar("Answer")


@dataclass(eq=False, slots=True)
class Job(Generic[Answer]):
    """One image on its way through a worker."""

    data: bytes | ImageArray
    """A file, or pixels uint8 [H, W, 3] of the model's own size."""
    request_id: str
    domain: str
    sequence_id: str
    client: str
    """Salted hash."""
    snapshot: Snapshot
    received_at: float
    """Seconds since the epoch."""
    started: float
    """`time.perf_counter` when the request came in."""
    capture: bool
    """Whether the image may be kept."""
    deadline_s: float
    """How long the sender waits."""
    quick: bool = False
    """Whether it takes so little that the event loop may do it."""
    expired: bool = False
    end_s: float = 0.0
    """Time of the event loop when the deadline passes."""
    answer: asyncio.Future[Answer] | None = field(default=None, repr=False)


class _Lane(Generic[Answer]):
    """Jobs that wait for the loop, or for the thread."""

    def __init__(self, image_s: float) -> None:
        self.queue: deque[Job[Answer]] = deque()
        self.busy = False
        self.image_s = image_s
        """What an image takes: a guess, then a moving average."""

    def took(self, seconds: float, images: int) -> None:
        """Learn from one batch."""
        self.image_s += 0.1 * (seconds / images - self.image_s)


class Batcher(Generic[Answer]):
    """Runs `work` on batches of jobs, in one thread or on the event loop.

    Args:
        work: returns one answer or refusal a job, in order; called in the thread and on the loop.
        dropped: told about each job that never reaches `work`, with its error code.
        limit: most images a run, asked before each batch with its first job.
        max_queue: most images waiting.
        gather_s: longest time that a batch on the loop waits for clients who were just answered.
    """

    def __init__(
        self,
        work: Callable[[list[Job[Answer]]], list[Answer | Refusal]],
        dropped: Callable[[Job[Answer], str], None],
        *,
        limit: Callable[[Job[Answer]], int],
        max_queue: int,
        gather_s: float = WAIT_S,
    ) -> None:
        self._work, self._dropped = work, dropped
        self._limit, self._max_queue = limit, max_queue
        self._on_loop: _Lane[Answer] = _Lane(0.0005)
        self._in_thread: _Lane[Answer] = _Lane(0.01)
        self._gathering = Gathering(gather_s)
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[Job[Answer]] = deque()
        self._sweeping = False
        self._batches: queue.SimpleQueue[_Batch[Answer] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Images that wait."""
        return len(self._on_loop.queue) + len(self._in_thread.queue)

    @property
    def busy(self) -> bool:
        """Whether a batch runs now, or is about to."""
        return self._on_loop.busy or self._in_thread.busy

    def submit(self, job: Job[Answer]) -> asyncio.Future[Answer]:
        """The answer to come; it raises Refusal when the image is bad or the deadline has passed.

        Raises:
            Refusal: too many images wait already, or they need longer than the deadline.
        """
        lane = self._on_loop if job.quick else self._in_thread
        wait_s = lane.image_s * len(lane.queue)
        if self.depth >= self._max_queue or wait_s > job.deadline_s:
            self._dropped(job, "overloaded")
            later_s = max(1, round(wait_s))
            raise Refusal("overloaded", retry_after_s=later_s, hint=f"Try again in {later_s} s.")
        loop = asyncio.get_running_loop()
        job.answer, job.end_s = loop.create_future(), loop.time() + job.deadline_s
        lane.queue.append(job)
        self._waiting.append(job)
        if job.quick:
            self._gathering.came(time.perf_counter())
        if not lane.busy:
            lane.busy = True  # after the other connections of this round
            loop.call_soon(self._start_here if job.quick else self._hand_over, loop)
        elif job.quick and self._timer is not None and not self._missing_s():
            self._timer.cancel()
            self._timer = None
            loop.call_soon(self._run_here, loop)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(min(SWEEP_S, job.deadline_s / 4), self._sweep, loop)
        return job.answer

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._batches.put(None)
        self._thread.join()

    def _next(self, lane: _Lane[Answer], most: int) -> list[Job[Answer]]:
        """The next batch of a lane, without those that nobody waits for."""
        batch: list[Job[Answer]] = []
        while lane.queue and len(batch) < most:
            job = lane.queue.popleft()
            if not batch:
                most = min(most, self._limit(job))
            if job.expired or job.answer is None or job.answer.done():
                self._dropped(job, "deadline_exceeded")
            else:
                batch.append(job)
        return batch

    def _start_here(self, loop: asyncio.AbstractEventLoop) -> None:
        """One batch on the event loop, now or when those who were just answered are back."""
        missing_s = self._missing_s()
        if missing_s:
            self._timer = loop.call_later(missing_s, self._run_here, loop)
        else:
            self._run_here(loop)

    def _missing_s(self) -> float:
        """How long a batch on the loop should wait for others; 0 when it is full."""
        queue = self._on_loop.queue
        if not queue or len(queue) >= min(self._most_here(), self._limit(queue[0])):
            return 0.0
        return self._gathering.wait_s(time.perf_counter())

    def _most_here(self) -> int:
        """Images that take `LOOP_S`."""
        return max(1, round(LOOP_S / self._on_loop.image_s))

    def _run_here(self, loop: asyncio.AbstractEventLoop) -> None:
        """One batch on the event loop; the next one after what arrived meanwhile is read."""
        lane, self._timer = self._on_loop, None
        batch = self._next(lane, self._most_here())
        if batch:
            began_s = time.thread_time()  # what others on the machine take makes no batch smaller
            answers = self._answers(batch)
            lane.took(time.thread_time() - began_s, len(batch))
            _deliver(batch, answers)
            self._gathering.answered(len(batch), time.perf_counter())
        lane.busy = bool(lane.queue)
        if lane.busy:  # two rounds on: first the answers go out, and what came meanwhile is queued
            loop.call_soon(loop.call_soon, self._start_here, loop)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the thread its next batch, or come to rest."""
        batch = self._next(self._in_thread, self._max_queue)
        self._in_thread.busy = bool(batch)
        if batch:
            self._batches.put(_Batch(loop, batch))

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            began_s = time.perf_counter()
            answers = self._answers(batch.jobs)
            took_s = time.perf_counter() - began_s
            try:
                batch.loop.call_soon_threadsafe(self._come_back, batch, answers, took_s)
            except RuntimeError:  # the loop ended before us: nobody waits any more
                log.warning("%d answers came after the end of the server", len(answers))

    def _answers(self, jobs: list[Job[Answer]]) -> list[Answer | Refusal]:
        try:
            return self._work(jobs)
        except Exception:  # one bad batch must not end the worker
            log.exception("a batch of %d images failed", len(jobs))
            for job in jobs:
                self._dropped(job, "internal")
            return [Refusal("internal") for _ in jobs]

    def _come_back(
        self, batch: _Batch[Answer], answers: list[Answer | Refusal], took_s: float
    ) -> None:
        self._in_thread.took(took_s, len(batch.jobs))
        _deliver(batch.jobs, answers)
        self._hand_over(batch.loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer 504 to jobs whose deadline has passed; one timer for all of them."""
        now_s = loop.time()
        open_jobs = [j for j in self._waiting if j.answer is not None and not j.answer.done()]
        for job in open_jobs:
            if now_s >= job.end_s and job.answer is not None:
                job.expired = True
                job.answer.set_exception(Refusal("deadline_exceeded", retry_after_s=1))
        self._waiting = deque(j for j in open_jobs if not j.expired)
        self._sweeping = bool(self._waiting)
        if self._waiting:
            shortest_s = min(job.deadline_s for job in self._waiting)
            loop.call_later(min(SWEEP_S, shortest_s / 4), self._sweep, loop)


@dataclass(frozen=True)
class _Batch(Generic[Answer]):
    """Jobs that run together, and the loop that waits for them."""

    loop: asyncio.AbstractEventLoop
    jobs: list[Job[Answer]]


def _deliver(jobs: list[Job[Answer]], answers: list[Answer | Refusal]) -> None:
    for job, answer in zip(jobs, answers, strict=True):
        job.data = b""  # the sweep may still hold the job for a moment
        if job.answer is None or job.answer.done():
            continue
        if isinstance(answer, Refusal):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
