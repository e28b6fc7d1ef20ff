"""An operator says: this change is the new normal.

The word goes through the audit trail of the control database, so that the evaluator stays the only
writer of its own. The evaluator applies it between two ticks, and remembers it in the transaction
that does so: exactly once, also after a crash, and `redshank watch replay` applies it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redshank.errors import InputError
from redshank.files import parse_rfc3339
from redshank.healing import AuditRow
from redshank.records import did_you_mean
from redshank.registry import Registry
from redshank.settings import Settings
from redshank.store.control import ControlStore, open_control
from redshank.store.monitor import open_monitor
from redshank.store.monitor_rows import StreamKey

ACTION = "accepted as normal"
"""Action of the audit rows that ask for it."""


@dataclass(frozen=True)
class Request:
    """One operator's word."""

    seq: int
    """Number of its audit row."""
    at_s: float
    key: StreamKey
    actor: str
    reason: str


Requests = Callable[[int], Iterable[Request]]
"""Requests whose audit row comes after a number, oldest first."""


def request_acceptance(
    settings: Settings, *, domain: str, model: str, actor: str, reason: str
) -> StreamKey:
    """Ask the evaluator to learn a domain anew under the model's live version.

    Raises:
        InputError: the live version has seen no such domain, or no evaluator has run yet.
    """
    store = open_monitor(settings.home.monitor_database, create=False)
    known = [row.key for row in store.streams() if row.key.model == model]
    version = _live_version(settings, model)
    found = [k for k in known if k.domain == domain and version in (None, k.version)]
    if not found:
        names = sorted({k.domain for k in known if version in (None, k.version)})
        shown = f"version {version} of {model}" if version else f"model {model}"
        raise InputError(
            f"{shown} has seen no domain {domain!r}{did_you_mean(domain, names)}",
            hint="`redshank watch status` lists domains; a new version learns by itself.",
        )
    key = found[-1]  # ordered by version
    details = {**key._asdict(), "reason": reason}
    control = open_control(settings.home.control_database)
    control.record(actor=actor, action=ACTION, subject=domain, details=details)
    control.close()
    return key


def requests_of(control: ControlStore) -> Requests:
    """Reads requests out of the audit trail, each row of it once."""
    waiting: list[Request] = []
    read_seq = 0

    def after(seq: int) -> Iterable[Request]:
        nonlocal read_seq
        for row in control.audit(after_seq=max(seq, read_seq)):
            if row.action == ACTION:
                waiting.append(_request(row))
            read_seq = row.seq
        waiting[:] = [request for request in waiting if request.seq > seq]
        return list(waiting)

    return after


def _request(row: AuditRow) -> Request:
    details = row.details
    key = StreamKey(details["model"], details["version"], details["domain"])
    return Request(row.seq, parse_rfc3339(row.at), key, row.actor, details["reason"])


def _live_version(settings: Settings, model: str) -> str | None:
    registry = Registry(settings.home.path("models"), settings.home.path("bundles"))
    try:
        return registry.read(model).live
    except InputError:
        return None  # never released here
