"""The lease: at most one loop heals, and a loop that was thought dead can write no more.

A lease has a *fencing token*, which grows whenever the lease changes hands. Every write of a loop
names its token; a write with an older one is refused, however long its process slept
(M. Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, insert, select, update

from redshank.errors import ConflictError
from redshank.files import Clock
from redshank.store.control_schema import LEASES
from redshank.store.engine import write


@dataclass(frozen=True)
class Lease:
    """What a holder shows to write."""

    name: str
    holder: str
    token: int
    expires_at_s: float
    took_over: bool
    """Whether the holder before never gave it back: it crashed or hung."""


def acquire_lease(
    engine: Engine, clock: Clock, *, name: str, holder: str, ttl_s: float
) -> Lease | None:
    """Take a lease that is free or expired; None while another holder is alive."""
    with write(engine) as connection:
        now_s = clock()
        row = connection.execute(select(LEASES).where(LEASES.c.name == name)).first()
        if row is not None and row.holder and row.expires_at_s > now_s:
            return None
        token = row.token + 1 if row else 1
        values = {"holder": holder, "token": token, "expires_at_s": now_s + ttl_s}
        if row is None:
            connection.execute(insert(LEASES).values(name=name, **values))
        else:
            connection.execute(update(LEASES).where(LEASES.c.name == name).values(values))
        return Lease(name, holder, token, now_s + ttl_s, took_over=bool(row and row.holder))


def renew_lease(engine: Engine, clock: Clock, lease: Lease, *, ttl_s: float) -> Lease:
    """The heartbeat: move the expiry.

    Raises:
        ConflictError: somebody else took the lease meanwhile.
    """
    with write(engine) as connection:
        check_lease(connection, lease)
        expires_at_s = clock() + ttl_s
        connection.execute(
            update(LEASES).where(LEASES.c.name == lease.name).values(expires_at_s=expires_at_s)
        )
    return dataclasses.replace(lease, expires_at_s=expires_at_s)


def release_lease(engine: Engine, lease: Lease) -> None:
    """Give the lease back; nothing happens if it is somebody else's by now."""
    with write(engine) as connection:
        connection.execute(
            update(LEASES)
            .where(LEASES.c.name == lease.name, LEASES.c.token == lease.token)
            .values(holder="", expires_at_s=0.0)
        )


def check_lease(connection: Connection, lease: Lease) -> None:
    """Refuse a writer whose lease is another's by now.

    Raises:
        ConflictError: the token is not the current one, or the lease was given back.
    """
    row = connection.execute(select(LEASES).where(LEASES.c.name == lease.name)).first()
    if row is None or row.token != lease.token or row.holder != lease.holder:
        current = f"token {row.token} of {row.holder or 'nobody'}" if row else "no lease"
        raise ConflictError(
            f"lease {lease.name!r}: {lease.holder} holds token {lease.token}, "
            f"the database has {current}",
            hint="This loop paused for too long and another one works on. Start it again.",
        )
