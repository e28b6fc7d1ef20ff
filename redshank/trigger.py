"""The trigger: one reason to retrain, one row, idempotent by key.

Evaluator, schedule, console and command all write triggers the same way; a webhook that is
delivered twice, or two evaluators in a hand-over, make one row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from redshank.files import new_id, rfc3339, sha256_bytes

SCHEMA = 1
Kind = Literal["alarm", "schedule", "manual", "volume"]


@dataclass(frozen=True)
class Trigger:
    """One reason to retrain."""

    schema: int
    trigger_id: str
    idempotency_key: str
    kind: Kind
    model: str
    domains: tuple[str, ...]
    """Domains whose field images shall be used; empty: every domain that captures."""
    onset_at: str | None
    """Estimated begin of the change; images from then on are the field data."""
    created_at: str
    actor: str
    """Who asked: evaluator, schedule, or a person's name."""
    evidence: dict[str, Any]
    """Numbers and one sentence `reason`; shown to people, never parsed for decisions."""


def make_trigger(
    *,
    kind: Kind,
    model: str,
    domains: Iterable[str],
    onset_at_s: float | None,
    created_at_s: float,
    actor: str,
    evidence: dict[str, Any],
) -> Trigger:
    """A trigger with its key."""
    names = tuple(sorted(set(domains)))
    onset = None if onset_at_s is None else rfc3339(onset_at_s)
    slot = onset if onset is not None else rfc3339(created_at_s)
    return Trigger(
        schema=SCHEMA,
        trigger_id=new_id(created_at_s),
        idempotency_key=idempotency_key(kind=kind, model=model, domains=names, slot=slot),
        kind=kind,
        model=model,
        domains=names,
        onset_at=onset,
        created_at=rfc3339(created_at_s),
        actor=actor,
        evidence=evidence,
    )


def idempotency_key(*, kind: Kind, model: str, domains: Iterable[str], slot: str) -> str:
    """sha256 over model, sorted domains, kind and slot (an onset, or a schedule's due time)."""
    return sha256_bytes("\n".join([model, ",".join(sorted(domains)), kind, slot]).encode())
