from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from serving.engine import Batcher, Job
from serving.refusal import Refusal
from serving.swap import Snapshot


def job(data: bytes, deadline_s: float = 5.0) -> Job[bytes]:
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
        deadline_s=deadline_s,
    )


class Model:
    """Echoes, refuses `bad`, and can be held."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.go = threading.Event()
        self.go.set()
        self.dropped: list[tuple[bytes, str]] = []
        self.here = 0
        """Thread that is never held."""

    def work(self, jobs: list[Job[bytes]]) -> list[bytes | Refusal]:
        if threading.get_ident() != self.here:
            self.go.wait()
        self.batches.append([bytes(j.data) for j in jobs])
        if any(j.data == b"crash" for j in jobs):
            raise RuntimeError("the model fell over")
        refusal = Refusal("invalid_image")
        return [refusal if j.data == b"bad" else bytes(j.data).upper() for j in jobs]

    def drop(self, one: Job[bytes], code: str) -> None:
        self.dropped.append((bytes(one.data), code))


def run(
    scenario: Callable[[Batcher[bytes], Model], Any], *, max_queue: int = 100, gather_s: float = 0.0
) -> Model:
    model = Model()
    batcher = Batcher(
        model.work, model.drop, limit=lambda _: 4, max_queue=max_queue, gather_s=gather_s
    )

    async def main() -> None:
        await scenario(batcher, model)

    asyncio.run(main())
    batcher.close()
    return model


async def outcome(batcher: Batcher[bytes], data: bytes, deadline_s: float = 5.0) -> bytes | str:
    try:
        return await batcher.submit(job(data, deadline_s))
    except Refusal as error:
        return error.code


def test_what_queued_meanwhile_is_the_next_batch_and_a_bad_one_fails_alone() -> None:
    async def scenario(batcher: Batcher[bytes], model: Model) -> None:
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
    async def scenario(batcher: Batcher[bytes], model: Model) -> None:
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
    async def scenario(batcher: Batcher[bytes], model: Model) -> None:
        model.go.clear()
        running = asyncio.create_task(outcome(batcher, b"a", 0.1))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(outcome(batcher, b"late", 0.05))
        assert await late == "deadline_exceeded"
        assert await running == "deadline_exceeded"
        model.go.set()
        assert await outcome(batcher, b"next") == b"NEXT"

    model = run(scenario)
    assert model.batches == [[b"a"], [b"next"]]
    assert model.dropped == [(b"late", "deadline_exceeded")]


def test_a_crash_is_internal_for_its_batch_only() -> None:
    async def scenario(batcher: Batcher[bytes], _model: Model) -> None:
        assert await outcome(batcher, b"crash") == "internal"
        assert await outcome(batcher, b"a") == b"A"

    assert run(scenario).dropped == [(b"crash", "internal")]


def test_who_would_wait_beyond_the_deadline_is_refused_at_once() -> None:
    async def scenario(batcher: Batcher[bytes], model: Model) -> None:
        batcher._in_thread.image_s = 0.5  # as if images had taken so long
        model.go.clear()
        waiting = [asyncio.create_task(outcome(batcher, b"a")) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting += [asyncio.create_task(outcome(batcher, b"b")) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert await outcome(batcher, b"hasty", 1.0) == "overloaded"
        model.go.set()
        assert await asyncio.gather(*waiting) == [b"A", b"A", b"A", b"B", b"B", b"B"]

    assert run(scenario).dropped == [(b"hasty", "overloaded")]


def test_answers_of_a_loop_that_ended_go_nowhere() -> None:
    model = Model()
    batcher = Batcher(model.work, model.drop, limit=lambda _: 4, max_queue=9)

    async def main() -> None:
        model.go.clear()
        batcher.submit(job(b"a"))
        await asyncio.sleep(0.01)

    asyncio.run(main())
    model.go.set()
    batcher.close()
    assert model.batches == [[b"a"]]


def test_quick_jobs_run_on_the_loop_while_the_thread_is_busy() -> None:
    async def scenario(batcher: Batcher[bytes], model: Model) -> None:
        model.go.clear()
        slow = asyncio.create_task(outcome(batcher, b"photo"))
        await asyncio.sleep(0.01)
        model.here = threading.get_ident()
        quick = [dataclasses.replace(job(data), quick=True) for data in (b"a", b"bad", b"c")]
        answers = [batcher.submit(one) for one in quick]
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert [found[0], found[2]] == [b"A", b"C"]
        assert isinstance(found[1], Refusal)
        assert not slow.done()
        model.go.set()
        assert await slow == b"PHOTO"

    assert run(scenario).batches == [[b"a", b"bad", b"c"], [b"photo"]]


def quick(data: bytes) -> Job[bytes]:
    return dataclasses.replace(job(data), quick=True)


async def two_batches_of(batcher: Batcher[bytes], model: Model) -> None:
    """Two images are answered, then one comes back and the other a moment later."""
    model.here = threading.get_ident()
    await asyncio.gather(batcher.submit(quick(b"a")), batcher.submit(quick(b"b")))
    first = batcher.submit(quick(b"c"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (len(model.batches), batcher.busy, batcher.depth) == (1, True, 1)
    second = batcher.submit(quick(b"d"))
    assert [await first, await second] == [b"C", b"D"]


def test_a_batch_on_the_loop_waits_for_all_who_were_just_answered() -> None:
    model = run(two_batches_of, gather_s=60.0)
    assert model.batches == [[b"a", b"b"], [b"c", b"d"]]


def test_a_batch_does_not_wait_longer_than_said() -> None:
    async def scenario(batcher: Batcher[bytes], model: Model) -> None:
        model.here = threading.get_ident()
        await asyncio.gather(batcher.submit(quick(b"a")), batcher.submit(quick(b"b")))
        assert await batcher.submit(quick(b"c")) == b"C"

    assert run(scenario, gather_s=0.05).batches == [[b"a", b"b"], [b"c"]]


def test_a_full_batch_waits_for_nobody() -> None:
    async def scenario(batcher: Batcher[bytes], model: Model) -> None:
        model.here = threading.get_ident()
        await asyncio.gather(*(batcher.submit(quick(b"a")) for _ in range(4)))
        jobs = [batcher.submit(quick(b"b")) for _ in range(9)]
        await asyncio.gather(*jobs[:8])
        jobs += [batcher.submit(quick(b"c")) for _ in range(3)]
        await asyncio.gather(*jobs)

    assert [len(batch) for batch in run(scenario, gather_s=60.0).batches] == [4, 4, 4, 4]
