"""An operator says: this change is the new normal, or: this domain is no more.

The word goes through the audit trail of the control database, so that the evaluator stays the only
writer of its own. The evaluator applies it between two ticks (operator_changes.py), and remembers
it in the transaction that does so: exactly once, also after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redshank.errors import InputError
from redshank.files import parse_rfc3339
from redshank.healing import AuditRow
from redshank.records import did_you_mean
from redshank.registry import Registry
from redshank.settings import Settings
from redshank.store.control import ControlStore, open_control
from redshank.store.monitor import open_monitor
from redshank.store.monitor_rows import StreamKey, StreamRow

ACCEPTED = "accepted as normal"
RETIRED = "retired"
"""Actions of the audit rows that ask for it."""


@dataclass(frozen=True)
class AcceptRequest:
    """A stream shall be learnt anew as it is now."""

    seq: int
    """Number of its audit row."""
    at_s: float
    key: StreamKey
    actor: str
    reason: str


@dataclass(frozen=True)
class RetireRequest:
    """A domain shall be forgotten under every version of the model."""

    seq: int
    """Number of its audit row."""
    at_s: float
    model: str
    domain: str
    actor: str
    reason: str


Request = AcceptRequest | RetireRequest
Requests = Callable[[int], Iterable[Request]]
"""Requests whose audit row comes after a number, oldest first."""


def request_acceptance(
    settings: Settings, *, domain: str, model: str, actor: str, reason: str
) -> StreamKey:
    """Ask the evaluator to learn a domain anew under the model's live version.

    Raises:
        InputError: the live version has seen no such domain, the model's release cannot be read,
            or no evaluator has run yet.
    """
    version = _live_version(settings, model)
    rows = [r for r in _rows(settings, model) if version in (None, r.key.version)]
    shown = f"version {version} of {model}" if version else f"model {model}"
    key = _of_domain(rows, domain, shown)[-1].key  # ordered by version
    _record(settings, actor, ACCEPTED, domain, {**key._asdict(), "reason": reason})
    return key


def request_retirement(
    settings: Settings, *, domain: str, model: str, actor: str, reason: str
) -> float:
    """Ask the evaluator to forget a domain: a camera that was taken down, or has another name.

    Returns:
        When the domain's last event came, seconds since the epoch.

    Raises:
        InputError: the model has seen no such domain, or no evaluator has run yet.
    """
    found = _of_domain(_rows(settings, model), domain, f"model {model}")
    details = {"model": model, "domain": domain, "reason": reason}
    _record(settings, actor, RETIRED, domain, details)
    return max(row.last_event_s for row in found)


def requests_of(control: ControlStore) -> Requests:
    """Reads requests out of the audit trail, each row of it once."""
    waiting: list[Request] = []
    read_seq = 0

    def after(seq: int) -> Iterable[Request]:
        nonlocal read_seq
        for row in control.audit(after_seq=max(seq, read_seq)):
            if row.action in (ACCEPTED, RETIRED):
                waiting.append(_request(row))
            read_seq = row.seq
        waiting[:] = [request for request in waiting if request.seq > seq]
        return list(waiting)

    return after


def _request(row: AuditRow) -> Request:
    said, at_s = row.details, parse_rfc3339(row.at)
    if row.action == RETIRED:
        about = (said["model"], said["domain"])
        return RetireRequest(row.seq, at_s, *about, row.actor, said["reason"])
    key = StreamKey(said["model"], said["version"], said["domain"])
    return AcceptRequest(row.seq, at_s, key, row.actor, said["reason"])


def _rows(settings: Settings, model: str) -> list[StreamRow]:
    store = open_monitor(settings.home.monitor_database, create=False)
    return [row for row in store.streams() if row.key.model == model]


def _of_domain(rows: list[StreamRow], domain: str, shown: str) -> list[StreamRow]:
    found = [row for row in rows if row.key.domain == domain]
    if not found:
        names = sorted({row.key.domain for row in rows})
        raise InputError(
            f"{shown} has seen no domain {domain!r}{did_you_mean(domain, names)}",
            hint="`redshank watch status` lists domains; a new version learns by itself.",
        )
    return found


def _record(
    settings: Settings, actor: str, action: str, domain: str, details: dict[str, Any]
) -> None:
    control = open_control(settings.home.control_database)
    control.record(actor=actor, action=action, subject=domain, details=details)
    control.close()


def _live_version(settings: Settings, model: str) -> str | None:
    registry = Registry(settings.home.path("models"), settings.home.path("bundles"))
    is_released = registry.release_path(model).is_file()
    return registry.read(model).live if is_released else None
