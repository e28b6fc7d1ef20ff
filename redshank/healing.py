"""The healing: one trigger's way through the state machine, its gates and its audit trail.

    pending  -> vetoed | snapshot
    snapshot -> training -> export -> gates -> proposed | shadow | canary | live | rejected
    proposed -> shadow | canary | live (a person approved) | rejected
    shadow   -> canary | live | rejected
    canary   -> live | rejected | rolled_back
    live     -> rolled_back

A person is asked after the gates and never before. Shadow and canary are skipped where the settings
give them no time.
Any state that is not an end may become `failed` or `superseded`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from redshank.errors import ConflictError, IntegrityError
from redshank.files import sha256_bytes
from redshank.records import as_dict

SCHEMA = 1
State = Literal[
    "pending",
    "vetoed",
    "proposed",
    "snapshot",
    "training",
    "export",
    "gates",
    "shadow",
    "canary",
    "live",
    "rejected",
    "rolled_back",
    "failed",
    "superseded",
]
Verdict = Literal["pass", "fail", "cannot_tell"]

ENDS: frozenset[State] = frozenset(
    {"vetoed", "live", "rejected", "rolled_back", "failed", "superseded"}
)
_FORWARD: dict[State, frozenset[State]] = {
    "pending": frozenset({"vetoed", "snapshot"}),
    "proposed": frozenset({"shadow", "canary", "live", "rejected"}),
    "snapshot": frozenset({"training", "vetoed"}),
    "training": frozenset({"export", "rejected"}),
    "export": frozenset({"gates", "rejected"}),
    "gates": frozenset({"proposed", "shadow", "canary", "live", "rejected"}),
    "shadow": frozenset({"canary", "live", "rejected"}),
    "canary": frozenset({"live", "rejected", "rolled_back"}),
    "live": frozenset({"rolled_back"}),
}


@dataclass(frozen=True)
class Gate:
    """One line of the gate table."""

    name: str
    domain: str
    """Empty when the gate is about the model as a whole."""
    verdict: Verdict
    value: float
    threshold: float
    n: int
    """Images behind the value."""
    detectable: float | None
    """Smallest drop that `n` images could have shown; None where the gate is no test."""
    sentence: str
    """What was compared and what came out, for people."""


@dataclass(frozen=True)
class Healing:
    """One trigger's way, as stored after each transition."""

    schema: int
    healing_id: str
    trigger_id: str
    model: str
    state: State
    updated_at: str
    attempt: int
    champion: str | None
    """Live bundle when it began."""
    snapshot: str | None
    """Manifest path of the field snapshot."""
    run: str | None
    challenger: str | None
    """Bundle id."""
    gates: tuple[Gate, ...]
    reason: str
    """Why it is in this state, one sentence."""


@dataclass(frozen=True)
class AuditRow:
    """One entry of the append-only, hash-chained trail."""

    schema: int
    seq: int
    at: str
    actor: str
    action: str
    subject: str
    """Id of the trigger, healing, bundle or label file, or a domain."""
    details: dict[str, Any]
    previous_sha256: str
    sha256: str
    """Over all other fields, `previous_sha256` included."""


def check_transition(old: State, new: State) -> None:
    """Refuse a step that the state machine does not have.

    Raises:
        ConflictError: `old` is an end, or `new` does not follow it.
    """
    allowed = _FORWARD.get(old, frozenset())
    if old not in ENDS:
        allowed = allowed | {"failed", "superseded"}
    if new not in allowed:
        raise ConflictError(
            f"a healing in state {old!r} cannot become {new!r}",
            hint=f"Possible: {', '.join(sorted(allowed)) or 'nothing, it has ended'}.",
        )


def states() -> tuple[State, ...]:
    """Every state, in order."""
    return get_args(State)


def audit_sha256(row: AuditRow) -> str:
    """The digest that `row.sha256` must hold."""
    values = {name: value for name, value in as_dict(row).items() if name != "sha256"}
    return sha256_bytes(json.dumps(values, sort_keys=True, ensure_ascii=False).encode())


def check_chain(rows: Iterable[AuditRow]) -> int:
    """Verify a trail from its first row; returns its length.

    Raises:
        IntegrityError: a row was changed, dropped or inserted.
    """
    previous, count = "", 0
    for count, row in enumerate(rows, start=1):
        if row.seq != count or row.previous_sha256 != previous or row.sha256 != audit_sha256(row):
            raise IntegrityError(f"audit trail is broken at row {row.seq}")
        previous = row.sha256
    return count
