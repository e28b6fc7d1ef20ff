from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from serving.engine import Batcher, Job, Worked
from serving.refusal import Refusal
from serving.swap import Snapshot


def job(data: bytes) -> Job:
    return Job(
        data=data,
        request_id="r",
        domain="d",
        sequence_id="",
        client="c",
        snapshot=cast("Snapshot", None),
        received_at=0.0,
        started=0.0,
        capture=False,
    )


class Model:
    """Echoes, refuses `bad`, and can be held."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.go = threading.Event()
        self.go.set()
        self.dropped: list[tuple[bytes, str]] = []

    def work(self, jobs: list[Job]) -> Worked:
        self.go.wait()
        self.batches.append([j.data for j in jobs])
        if any(j.data == b"crash" for j in jobs):
            raise RuntimeError("the model fell over")
        refusal = Refusal("invalid_image")
        return Worked([refusal if j.data == b"bad" else j.data.upper() for j in jobs])

    def drop(self, one: Job, code: str) -> None:
        self.dropped.append((one.data, code))


def run(scenario: Callable[[Batcher, Model], Any], **changes: Any) -> Model:
    model = Model()
    options = {"max_batch": 4, "max_queue": 100, "deadline_s": 5.0, **changes}
    batcher = Batcher(model.work, model.drop, **options)

    async def main() -> None:
        await scenario(batcher, model)

    asyncio.run(main())
    batcher.close()
    return model


async def outcome(batcher: Batcher, data: bytes) -> bytes | str:
    try:
        return await batcher.submit(job(data))
    except Refusal as error:
        return error.code


def test_what_queued_meanwhile_is_the_next_batch_and_a_bad_one_fails_alone() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        model.go.clear()
        first = asyncio.create_task(outcome(batcher, b"a"))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(outcome(batcher, d)) for d in (b"b", b"bad", b"c", b"d", b"e")]
        await asyncio.sleep(0.01)
        model.go.set()
        found = await asyncio.gather(first, *rest)
        assert found == [b"A", b"B", "invalid_image", b"C", b"D", b"E"]

    model = run(scenario)
    assert model.batches == [[b"a"], [b"b", b"bad", b"c", b"d"], [b"e"]]


def test_a_full_queue_is_refused_with_a_time_to_wait() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        model.go.clear()
        running = asyncio.create_task(outcome(batcher, b"a"))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(outcome(batcher, b"b")) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert batcher.depth == 3
        with pytest.raises(Refusal) as refused:
            await batcher.submit(job(b"late"))
        assert (refused.value.code, refused.value.status) == ("overloaded", 429)
        assert refused.value.retry_after_s >= 1
        model.go.set()
        assert await asyncio.gather(running, *waiting) == [b"A", b"B", b"B", b"B"]

    assert run(scenario, max_queue=3).dropped == [(b"late", "overloaded")]


def test_a_late_job_is_answered_504_and_costs_no_work() -> None:
    async def scenario(batcher: Batcher, model: Model) -> None:
        model.go.clear()
        running = asyncio.create_task(outcome(batcher, b"a"))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(outcome(batcher, b"late"))
        assert await late == "deadline_exceeded"
        assert await running == "deadline_exceeded"
        model.go.set()
        assert await outcome(batcher, b"next") == b"NEXT"

    model = run(scenario, deadline_s=0.05)
    assert model.batches == [[b"a"], [b"next"]]
    assert model.dropped == [(b"late", "deadline_exceeded")]


def test_a_crash_is_internal_for_its_batch_only() -> None:
    async def scenario(batcher: Batcher, _model: Model) -> None:
        assert await outcome(batcher, b"crash") == "internal"
        assert await outcome(batcher, b"a") == b"A"

    assert run(scenario).dropped == [(b"crash", "internal")]


def test_later_work_that_fails_strands_nobody_who_queued_meanwhile() -> None:
    began, fail = threading.Event(), threading.Event()

    def later() -> None:
        began.set()
        assert fail.wait(10)
        raise RuntimeError("the shadow fell over")

    def work(jobs: list[Job]) -> Worked:
        return Worked([j.data.upper() for j in jobs], later if not began.is_set() else None)

    async def scenario() -> None:
        batcher = Batcher(work, lambda *_: None, max_batch=4, max_queue=9, deadline_s=5.0)
        assert await outcome(batcher, b"a") == b"A"
        await asyncio.to_thread(began.wait)
        waiting = asyncio.create_task(outcome(batcher, b"b"))
        await asyncio.sleep(0.01)
        fail.set()
        assert await waiting == b"B"
        batcher.close()

    asyncio.run(scenario())
