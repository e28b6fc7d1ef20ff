from __future__ import annotations

import time

import pytest

from redshank.errors import ConflictError, InputError
from redshank.store.control import ControlStore
from redshank.store.control_lease import Lease
from retraining.heartbeat import heartbeat
from tests.retraining.tiny_world import World


def test_the_lease_outlives_its_first_term(store: ControlStore) -> None:
    lease = store.acquire("loop", ttl_s=1.5)
    assert lease is not None
    with heartbeat(store, lease, ttl_s=1.5) as lost:
        assert not lost.wait(2.5)
        assert store.acquire("other", ttl_s=1) is None
    store.release(lease)
    assert store.acquire("other", ttl_s=1) is not None


def test_a_lease_that_another_took_is_lost(world: World, store: ControlStore) -> None:
    lease = store.acquire("loop", ttl_s=0.3)
    world.clock.ahead_s += 10
    assert lease is not None
    assert store.acquire("thief", ttl_s=100) is not None
    with heartbeat(store, lease, ttl_s=0.3) as lost:
        assert lost.wait(10)


def test_a_busy_database_is_no_loss(store: ControlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = store.acquire("loop", ttl_s=60)
    assert lease is not None
    real = store.renew
    refused: list[int] = []

    def renew(one: Lease, *, ttl_s: float) -> Lease:
        if len(refused) < 3:
            refused.append(1)
            raise ConflictError("control.db was locked by another process")
        return real(one, ttl_s=ttl_s)

    monkeypatch.setattr(store, "renew", renew)
    with heartbeat(store, lease, ttl_s=0.15) as lost:
        assert not lost.wait(0.5)
    assert len(refused) == 3


def test_a_database_that_stays_away_is_a_loss(
    store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = store.acquire("loop", ttl_s=60)
    assert lease is not None

    def away(*_lease: object, **_ttl: object) -> None:
        raise InputError("database cannot be reached")

    monkeypatch.setattr(store, "renew", away)
    begun_s = time.monotonic()
    with heartbeat(store, lease, ttl_s=0.3) as lost:
        assert lost.wait(10)
    assert time.monotonic() - begun_s >= 0.3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_error_is_a_loss(
    store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = store.acquire("loop", ttl_s=60)
    assert lease is not None

    def broken(*_lease: object, **_ttl: object) -> None:
        raise RuntimeError("out of file descriptors")

    monkeypatch.setattr(store, "renew", broken)
    with heartbeat(store, lease, ttl_s=0.3) as lost:
        assert lost.wait(10)
