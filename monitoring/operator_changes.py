"""What an operator's word changes: in the fleet at once, in the database by what is returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from redshank.store.monitor import TickWrite
from redshank.store.monitor_rows import Acceptance, Alarm, StreamKey, StreamRow

from .alarms import close
from .fleet import Fleet
from .operators import AcceptRequest, Request, RetireRequest

RowOf = Callable[[StreamKey, Sequence[Alarm]], StreamRow]
"""A stream's row as it stands now, given its open alarms."""


def apply_request(fleet: Fleet, request: Request, row_of: RowOf) -> TickWrite:
    """Do what was asked; what is no longer there changes nothing, and is not asked for again."""
    if isinstance(request, RetireRequest):
        return _retire(fleet, request)
    if request.key not in fleet.rows:
        return TickWrite(tick=fleet.last_tick, requests_seq=request.seq)
    return _accept(fleet, request, row_of)


def _accept(fleet: Fleet, request: AcceptRequest, row_of: RowOf) -> TickWrite:
    """Learn a stream anew, and close its alarms."""
    key, tick = request.key, fleet.last_tick
    closed = _close(fleet, [key], request, "accepted as normal")
    fleet.stream(key).accept(after_seq=request.seq)
    return TickWrite(
        tick=tick,
        requests_seq=request.seq,
        streams=(row_of(key, ()),),
        alarms=closed,
        acceptances=(Acceptance(tick=tick, **vars(request)),),
    )


def _retire(fleet: Fleet, request: RetireRequest) -> TickWrite:
    """Forget a domain and close its alarms; they and its past days stay in the database."""
    keys = [k for k in fleet.rows if (k.model, k.domain) == (request.model, request.domain)]
    closed = _close(fleet, keys, request, "retired")
    fleet.forget(keys)
    return TickWrite(
        tick=fleet.last_tick, requests_seq=request.seq, retired=tuple(keys), alarms=closed
    )


def _close(
    fleet: Fleet, keys: Sequence[StreamKey], request: Request, done: str
) -> tuple[Alarm, ...]:
    words = f"{done} by {request.actor}: {request.reason}"
    opened = [alarm for key in keys for alarm in fleet.alarms(key)]
    closed = tuple(  # the tick in which it was said may have raised one
        close(alarm, at_s=max(request.at_s, alarm.raised_s), reason=words) for alarm in opened
    )
    fleet.note(closed)
    return closed
