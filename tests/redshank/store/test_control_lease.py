from __future__ import annotations

import subprocess
import sys

import pytest

from redshank.errors import ConflictError
from redshank.store.control import ControlStore
from redshank.trigger import make_trigger

from .conftest import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


def test_one_holder_at_a_time(store: ControlStore, clock: Clock) -> None:
    first = store.acquire("a", ttl_s=60)
    assert first is not None
    assert not first.took_over
    assert store.acquire("b", ttl_s=60) is None
    assert store.acquire("a", ttl_s=60) is None
    clock.now_s = 59.0
    assert store.renew(first, ttl_s=60).expires_at_s == 119.0
    clock.now_s = 118.0
    assert store.acquire("b", ttl_s=60) is None
    clock.now_s = 119.0
    second = store.acquire("b", ttl_s=60)
    assert second is not None
    assert second.took_over
    assert second.token == first.token + 1


def test_a_released_lease_is_free_at_once(store: ControlStore) -> None:
    first = store.acquire("a", ttl_s=60)
    assert first is not None
    store.release(first)
    second = store.acquire("b", ttl_s=60)
    assert second is not None
    assert not second.took_over
    store.release(first)  # a late release of the first takes nothing from the second
    assert store.acquire("c", ttl_s=60) is None


def test_an_old_token_writes_nothing(store: ControlStore, clock: Clock) -> None:
    store.add_trigger(
        make_trigger(
            kind="manual",
            model="default",
            domains=["pier"],
            onset_at_s=None,
            created_at_s=0.0,
            actor="ann",
            evidence={},
        )
    )
    healing = store.healings()[0]
    old = store.acquire("a", ttl_s=60)
    clock.now_s = 61.0
    new = store.acquire("b", ttl_s=60)
    assert old is not None
    assert new is not None
    for attempt in (
        lambda: store.transition(healing, "snapshot", reason="", actor="a", lease=old),
        lambda: store.note(healing, lease=old, reason="x"),
        lambda: store.count_attempt(healing, lease=old),
        lambda: store.set_mark("x", "y", lease=old),
        lambda: store.renew(old, ttl_s=60),
        lambda: store.check(old),
    ):
        with pytest.raises(ConflictError, match=f"a holds token {old.token}"):
            attempt()
    assert store.healings() == (healing,)
    moved = store.transition(healing, "snapshot", reason="", actor="b", lease=new)
    assert moved.state == "snapshot"


def test_an_expired_lease_that_nobody_took_still_writes(store: ControlStore, clock: Clock) -> None:
    lease = store.acquire("a", ttl_s=60)
    assert lease is not None
    clock.now_s = 500.0
    store.check(lease)
    assert store.renew(lease, ttl_s=60).expires_at_s == 560.0


GRAB = """
import sys, time
from redshank.store.control import open_control
url, name = sys.argv[1:]
store = open_control(url)
wins = 0
for _ in range(15):
    lease = store.acquire(name, ttl_s=60)
    if lease is not None:
        wins += 1
        print(lease.token, "begin", flush=True)
        store.check(lease)
        time.sleep(0.005)
        print(lease.token, "end", flush=True)
        store.release(lease)
    time.sleep(0.002)
"""


def test_two_processes_never_hold_it_together(url: str, store: ControlStore) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", GRAB, url, name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    lines = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    tokens = [int(word) for words in lines for word in words if word.isdigit()]
    held = sorted(set(tokens))
    assert len(tokens) == 2 * len(held)  # every token began and ended in one process
    assert held == list(range(1, len(held) + 1))
    last = store.acquire("three", ttl_s=60)
    assert last is not None
    assert last.token == held[-1] + 1
