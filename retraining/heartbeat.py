"""Keeps the lease alive while a stage runs or a comparison computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redshank.errors import ConflictError, InputError
from redshank.store.control import ControlStore
from redshank.store.control_lease import Lease


@contextmanager
def heartbeat(store: ControlStore, lease: Lease, *, ttl_s: float) -> Iterator[threading.Event]:
    """Renew the lease three times in its life; the event is set when it is lost.

    It counts as lost when another loop took it, or when the database could not be reached for a
    whole `ttl_s`.
    """
    lost, done = threading.Event(), threading.Event()

    def watch() -> None:
        try:
            beat()
        finally:  # a heart that stopped for whatever reason is a lost lease
            if not done.is_set():
                lost.set()

    def beat() -> None:
        seen_s = time.monotonic()
        while not done.wait(ttl_s / 3):
            try:
                store.renew(lease, ttl_s=ttl_s)
                seen_s = time.monotonic()
            except ConflictError:
                if _is_lost(store, lease):
                    return
            except InputError:
                if time.monotonic() - seen_s > ttl_s:
                    return

    thread = threading.Thread(target=watch, name="lease heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()


def _is_lost(store: ControlStore, lease: Lease) -> bool:
    """A locked database is a conflict too, but no loss."""
    try:
        store.check(lease)
    except ConflictError:
        return True
    except InputError:
        return False
    return False
