"""Rows of triggers and healings; every function works inside a transaction of its caller."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from sqlalchemy import Connection, insert, select, update

from redshank.errors import ConflictError, InputError
from redshank.files import new_id, rfc3339
from redshank.healing import ENDS, SCHEMA, Healing, State, check_transition
from redshank.records import as_dict, check_schema, from_dict
from redshank.store.control_schema import HEALINGS, MARKS, TRIGGERS, append_audit, to_text
from redshank.trigger import SCHEMA as TRIGGER_SCHEMA
from redshank.trigger import Trigger


def insert_trigger(connection: Connection, trigger: Trigger, *, at_s: float) -> bool:
    """Store a trigger and its pending healing; False if its idempotency key is known."""
    key = TRIGGERS.c.idempotency_key == trigger.idempotency_key
    if connection.execute(select(TRIGGERS.c.trigger_id).where(key)).first():
        return False
    connection.execute(
        insert(TRIGGERS).values(
            trigger_id=trigger.trigger_id,
            idempotency_key=trigger.idempotency_key,
            record=to_text(trigger),
        )
    )
    healing = _pending(trigger, at_s)
    connection.execute(
        insert(HEALINGS).values(
            healing_id=healing.healing_id,
            trigger_id=trigger.trigger_id,
            state=healing.state,
            record=to_text(healing),
        )
    )
    details: dict[str, Any] = {"kind": trigger.kind, "domains": list(trigger.domains)}
    details |= {"onset_at": trigger.onset_at, "evidence": trigger.evidence}
    append_audit(
        connection,
        at_s=at_s,
        actor=trigger.actor,
        action="trigger",
        subject=trigger.trigger_id,
        details=details | {"healing_id": healing.healing_id},
    )
    return True


def withdrawn_mark(trigger_id: str) -> str:
    """Name of the mark that tells why a trigger holds no longer."""
    return f"withdrawn {trigger_id}"


def withdraw_trigger(connection: Connection, trigger: Trigger, *, at_s: float, reason: str) -> None:
    """The reason to retrain is gone: see `ControlStore.withdraw`. Twice is once."""
    insert_trigger(connection, trigger, at_s=at_s)
    key = TRIGGERS.c.idempotency_key == trigger.idempotency_key
    trigger_id = connection.execute(select(TRIGGERS.c.trigger_id).where(key)).scalar_one()
    name = withdrawn_mark(trigger_id)
    if connection.execute(select(MARKS.c.name).where(MARKS.c.name == name)).first():
        return
    connection.execute(insert(MARKS).values(name=name, value=reason))
    healing = find_healing(connection, trigger_id)
    if healing.state in ENDS:
        return
    append_audit(
        connection,
        at_s=at_s,
        actor=trigger.actor,
        action="withdrawn",
        subject=trigger_id,
        details={"reason": reason, "healing_id": healing.healing_id, "state": healing.state},
    )
    if healing.state == "pending":
        by: dict[str, Any] = {"actor": trigger.actor, "reason": reason, "changes": {}}
        move_healing(connection, healing, "vetoed", at_s=at_s, **by)
    else:
        told = dataclasses.replace(healing, reason=f"{healing.reason}; but {reason}")
        store_healing(connection, told)


def list_triggers(connection: Connection) -> tuple[Trigger, ...]:
    """Every trigger, oldest first."""
    query = select(TRIGGERS.c.record).order_by(TRIGGERS.c.trigger_id)
    return tuple(_trigger(record) for (record,) in connection.execute(query))


def find_trigger(connection: Connection, trigger_id: str) -> Trigger:
    """One trigger; InputError when there is none with this id."""
    query = select(TRIGGERS.c.record).where(TRIGGERS.c.trigger_id == trigger_id)
    row = connection.execute(query).first()
    if row is None:
        raise InputError(
            f"there is no trigger {trigger_id!r}", hint="See them: redshank retrain list"
        )
    return _trigger(row.record)


def list_healings(connection: Connection, states: tuple[State, ...]) -> tuple[Healing, ...]:
    """Healings in one of `states` (empty: in any), oldest first."""
    query = select(HEALINGS.c.record).order_by(HEALINGS.c.healing_id)
    if states:
        query = query.where(HEALINGS.c.state.in_(states))
    return tuple(_healing(record) for (record,) in connection.execute(query))


def find_healing(connection: Connection, any_id: str) -> Healing:
    """A healing by its own or its trigger's id; InputError when there is none."""
    match = (HEALINGS.c.healing_id == any_id) | (HEALINGS.c.trigger_id == any_id)
    row = connection.execute(select(HEALINGS.c.record).where(match)).first()
    if row is None:
        raise InputError(f"there is no healing {any_id!r}", hint="See them: redshank retrain list")
    return _healing(row.record)


def move_healing(
    connection: Connection,
    seen: Healing,
    new: State,
    *,
    at_s: float,
    actor: str,
    reason: str,
    changes: dict[str, Any],
) -> Healing:
    """One checked step of the state machine with its audit row; see `ControlStore.transition`."""
    stored = find_healing(connection, seen.healing_id)
    if stored.state != seen.state:
        raise ConflictError(
            f"healing {seen.healing_id} is {stored.state!r}, expected {seen.state!r}",
            hint="Somebody else moved it first. Look again: redshank retrain list",
        )
    check_transition(stored.state, new)
    moved = dataclasses.replace(
        stored, state=new, reason=reason, updated_at=rfc3339(at_s), **changes
    )
    store_healing(connection, moved)
    details = {"from": stored.state, "reason": reason}
    details |= {name: as_dict(moved)[name] for name in changes}
    append_audit(
        connection,
        at_s=at_s,
        actor=actor,
        action=new,
        subject=seen.healing_id,
        details=details,
    )
    return moved


def store_healing(connection: Connection, healing: Healing) -> None:
    """Overwrite the row of a healing."""
    connection.execute(
        update(HEALINGS)
        .where(HEALINGS.c.healing_id == healing.healing_id)
        .values(state=healing.state, record=to_text(healing))
    )


def _pending(trigger: Trigger, at_s: float) -> Healing:
    return Healing(
        schema=SCHEMA,
        healing_id=new_id(at_s),
        trigger_id=trigger.trigger_id,
        model=trigger.model,
        state="pending",
        updated_at=rfc3339(at_s),
        attempt=1,
        champion=None,
        snapshot=None,
        run=None,
        challenger=None,
        gates=(),
        reason="waits for the loop",
    )


def _healing(record: str) -> Healing:
    values = json.loads(record)
    check_schema(values, current=SCHEMA, source="healing")
    return from_dict(Healing, values, source="healing")


def _trigger(record: str) -> Trigger:
    values = json.loads(record)
    check_schema(values, current=TRIGGER_SCHEMA, source="trigger")
    return from_dict(Trigger, values, source="trigger")
