"""The micro-batcher: no timer, whatever queued while the model was busy is the next batch.

One thread decodes, runs the model and writes JSON; the event loop only hands over bytes. A job that
waits too long is answered 504 and dropped before any work is spent on it; a full queue is 429.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .refusal import Refusal
from .swap import Snapshot

log = logging.getLogger("redshank.serving")


@dataclass(eq=False, slots=True)
class Job:
    """One image on its way through a worker."""

    data: bytes
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
    expired: bool = False
    answer: asyncio.Future[bytes] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Worked:
    """What one batch gave: an answer or a refusal for each job, and work that can wait."""

    answers: list[bytes | Refusal]
    later: Callable[[], None] | None = None


class Batcher:
    """Runs `work` on batches of jobs in one thread.

    Args:
        work: called in the thread; returns one answer a job, in order.
        dropped: told about each job that never reaches `work`, with its error code.
        max_batch: most images a run.
        max_queue: most images waiting.
        deadline_s: longest wait of one image.
    """

    def __init__(
        self,
        work: Callable[[list[Job]], Worked],
        dropped: Callable[[Job, str], None],
        *,
        max_batch: int,
        max_queue: int,
        deadline_s: float,
    ) -> None:
        self._work, self._dropped = work, dropped
        self._max_batch, self._max_queue, self._deadline_s = max_batch, max_queue, deadline_s
        self._queue: deque[Job] = deque()
        self._running: asyncio.Task[None] | None = None
        self._image_s = 0.01
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="inference")

    @property
    def depth(self) -> int:
        """Images that wait."""
        return len(self._queue)

    async def submit(self, job: Job) -> bytes:
        """Wait for the answer to a job, as JSON.

        Raises:
            Refusal: the image is bad, the queue is full or the deadline has passed.
        """
        if len(self._queue) >= self._max_queue:
            self._dropped(job, "overloaded")
            wait_s = max(1, round(self._image_s * len(self._queue)))
            raise Refusal("overloaded", retry_after_s=wait_s, hint=f"Try again in {wait_s} s.")
        loop = asyncio.get_running_loop()
        job.answer = loop.create_future()
        self._queue.append(job)
        if self._running is None:
            self._running = loop.create_task(self._run())
        timer = loop.call_later(self._deadline_s, _expire, job)
        try:
            return await job.answer
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._pool.shutdown(wait=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                batch = self._next_batch()
                if not batch:
                    continue
                began = loop.time()
                worked = await self._answers(batch)
                share_s = (loop.time() - began) / len(batch)
                self._image_s += 0.1 * (share_s - self._image_s)
                for job, answer in zip(batch, worked.answers, strict=True):
                    _deliver(job, answer)
                if worked.later is not None and not self._queue:
                    await self._do_later(worked.later)
        finally:
            self._running = None

    def _next_batch(self) -> list[Job]:
        batch: list[Job] = []
        while self._queue and len(batch) < self._max_batch:
            job = self._queue.popleft()
            if job.expired or job.answer is None or job.answer.done():
                self._dropped(job, "deadline_exceeded")
            else:
                batch.append(job)
        return batch

    async def _do_later(self, later: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, later)
        except Exception:  # what queued meanwhile must not wait for the next request
            log.exception("work after the answers failed")

    async def _answers(self, batch: list[Job]) -> Worked:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._work, batch)
        except Exception:  # one bad batch must not end the worker
            log.exception("a batch of %d images failed", len(batch))
            for job in batch:
                self._dropped(job, "internal")
            return Worked([Refusal("internal") for _ in batch])


def _expire(job: Job) -> None:
    job.expired = True
    if job.answer is not None and not job.answer.done():
        job.answer.set_exception(Refusal("deadline_exceeded", retry_after_s=1))


def _deliver(job: Job, answer: bytes | Refusal) -> None:
    if job.answer is None or job.answer.done():
        return
    if isinstance(answer, Refusal):
        job.answer.set_exception(answer)
    else:
        job.answer.set_result(answer)
