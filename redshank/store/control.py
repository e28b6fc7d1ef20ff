"""The control database: triggers, healings, the lease, labels and the audit trail.

Evaluator, retraining loop, console and command write it at the same time. Each method is one
transaction; whatever changes something leaves its audit row in the same transaction.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine, insert, select, update

from redshank.files import Clock
from redshank.healing import AuditRow, Healing, State, check_chain
from redshank.records import as_dict
from redshank.store.control_healings import (
    find_healing,
    find_trigger,
    insert_trigger,
    list_healings,
    list_triggers,
    move_healing,
    store_healing,
    withdraw_trigger,
    withdrawn_mark,
)
from redshank.store.control_labels import (
    LabelCounts,
    LabelsGiven,
    add_history,
    import_labels,
    labels_given,
    labels_of,
)
from redshank.store.control_lease import (
    Lease,
    acquire_lease,
    check_lease,
    release_lease,
    renew_lease,
)
from redshank.store.control_schema import MARKS, METADATA, append_audit, read_audit
from redshank.store.engine import open_engine, read, write
from redshank.trigger import Trigger

LEASE = "retraining"
"""Name of the one lease: whoever holds it heals."""


def open_control(url: str, *, clock: Clock = time.time) -> ControlStore:
    """Open the control database, making its tables on first use.

    Raises:
        ConfigError: the URL cannot be read.
        InputError: the database cannot be reached or written.
    """
    engine = open_engine(url)
    with write(engine) as connection:
        METADATA.create_all(connection)
    return ControlStore(engine, clock)


class ControlStore:
    """Reads and writes the control database; safe from threads and processes."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    def close(self) -> None:
        """Close pooled connections."""
        self._engine.dispose()

    def add_trigger(self, trigger: Trigger) -> bool:
        """Store a trigger with its pending healing; False if its idempotency key is known."""
        with write(self._engine) as connection:
            return insert_trigger(connection, trigger, at_s=self._clock())

    def withdraw(self, trigger: Trigger, *, reason: str) -> None:
        """End a healing that only waits; of one under way a person decides after the gates."""
        with write(self._engine) as connection:
            withdraw_trigger(connection, trigger, at_s=self._clock(), reason=reason)

    def withdrawn(self, trigger_id: str) -> str | None:
        """Why a trigger holds no longer; None where it does."""
        return self.mark(withdrawn_mark(trigger_id))

    def triggers(self) -> tuple[Trigger, ...]:
        """Every trigger, oldest first."""
        with read(self._engine) as connection:
            return list_triggers(connection)

    def trigger(self, trigger_id: str) -> Trigger:
        """One trigger.

        Raises:
            InputError: there is none with this id.
        """
        with read(self._engine) as connection:
            return find_trigger(connection, trigger_id)

    def healings(self, *states: State) -> tuple[Healing, ...]:
        """Healings, oldest first; with `states`, only those in one of them."""
        with read(self._engine) as connection:
            return list_healings(connection, states)

    def healing(self, any_id: str) -> Healing:
        """The healing with this id, or of the trigger with this id.

        Raises:
            InputError: there is none.
        """
        with read(self._engine) as connection:
            return find_healing(connection, any_id)

    def transition(
        self,
        healing: Healing,
        new: State,
        *,
        reason: str,
        actor: str,
        lease: Lease | None,
        **changes: Any,
    ) -> Healing:
        """Move a healing one state on, with its audit row, in one transaction.

        Args:
            healing: as the caller read it; the step is refused if it moved on meanwhile.
            new: state to go to.
            reason: one sentence, kept in the healing and in the trail.
            actor: who moves it: a loop, or a person's name.
            lease: the loop's lease, checked in the same transaction; None for people.
            changes: other fields of the healing to set.

        Raises:
            ConflictError: an old lease, another state than the caller saw, or no such step.
        """
        with write(self._engine) as connection:
            if lease is not None:
                check_lease(connection, lease)
            return move_healing(
                connection,
                healing,
                new,
                at_s=self._clock(),
                actor=actor,
                reason=reason,
                changes=changes,
            )

    def note(self, healing: Healing, *, lease: Lease, reason: str) -> Healing:
        """Keep why a healing waits, without moving it and without an audit row.

        Raises:
            ConflictError: the lease is another's by now.
        """
        if healing.reason == reason:
            return healing
        with write(self._engine) as connection:
            check_lease(connection, lease)
            stored = find_healing(connection, healing.healing_id)
            noted = dataclasses.replace(stored, reason=reason)
            store_healing(connection, noted)
        return noted

    def count_attempt(self, healing: Healing, *, lease: Lease) -> Healing:
        """Count one more attempt, after the loop before died in the middle of this healing.

        Raises:
            ConflictError: the lease is another's by now.
        """
        with write(self._engine) as connection:
            check_lease(connection, lease)
            stored = find_healing(connection, healing.healing_id)
            counted = dataclasses.replace(stored, attempt=stored.attempt + 1)
            store_healing(connection, counted)
            append_audit(
                connection,
                at_s=self._clock(),
                actor=lease.holder,
                action="resumed",
                subject=healing.healing_id,
                details={"state": stored.state, "attempt": counted.attempt},
            )
        return counted

    def mark_rolled_back(self, bundle_id: str, *, actor: str, reason: str) -> Healing | None:
        """Move the healing that published a bundle to `rolled_back`; None if there is none."""
        for healing in reversed(self.healings("live", "canary")):
            if healing.challenger == bundle_id:
                return self.transition(
                    healing, "rolled_back", reason=reason, actor=actor, lease=None
                )
        return None

    def acquire(self, holder: str, *, ttl_s: float) -> Lease | None:
        """Take the lease; None while another loop holds it. See `control_lease`."""
        return acquire_lease(self._engine, self._clock, name=LEASE, holder=holder, ttl_s=ttl_s)

    def renew(self, lease: Lease, *, ttl_s: float) -> Lease:
        """Heartbeat; raises ConflictError when another loop took the lease."""
        return renew_lease(self._engine, self._clock, lease, ttl_s=ttl_s)

    def release(self, lease: Lease) -> None:
        """Give the lease back."""
        release_lease(self._engine, lease)

    def check(self, lease: Lease) -> None:
        """Refuse a loop whose lease is another's by now, with ConflictError."""
        with read(self._engine) as connection:
            check_lease(connection, lease)

    def record(self, *, actor: str, action: str, subject: str, details: dict[str, Any]) -> AuditRow:
        """Add a row to the trail that belongs to no other change."""
        with write(self._engine) as connection:
            return append_audit(
                connection,
                at_s=self._clock(),
                actor=actor,
                action=action,
                subject=subject,
                details=details,
            )

    def audit(self, *, after_seq: int = 0) -> tuple[AuditRow, ...]:
        """The trail, oldest first: all of it, or the rows after a number."""
        with read(self._engine) as connection:
            return read_audit(connection, after_seq=after_seq)

    def verify_audit(self) -> int:
        """Check the hash chain; returns its length.

        Raises:
            IntegrityError: a row was changed, dropped or inserted.
        """
        return check_chain(self.audit())

    def mark(self, name: str) -> str | None:
        """A small remembered text, such as the last slot of a schedule."""
        with read(self._engine) as connection:
            row = connection.execute(select(MARKS.c.value).where(MARKS.c.name == name)).first()
        return None if row is None else str(row.value)

    def set_mark(self, name: str, value: str, *, lease: Lease) -> None:
        """Remember a text under a name; raises ConflictError on an old lease."""
        with write(self._engine) as connection:
            check_lease(connection, lease)
            changed = connection.execute(
                update(MARKS).where(MARKS.c.name == name).values(value=value)
            )
            if changed.rowcount == 0:
                connection.execute(insert(MARKS).values(name=name, value=value))

    def import_labels(
        self,
        rows: Iterable[tuple[str, str]],
        *,
        actor: str,
        subject: str,
        source: str,
        is_sample: bool = True,
    ) -> LabelCounts:
        """Store (image sha256, label) rows with one audit row.

        Args:
            rows: the last row of an image wins, also over earlier imports.
            actor: who gave the labels.
            subject: digest of the file they came from, or of the one image.
            source: its name.
            is_sample: whether the images were drawn at random.
        """
        with write(self._engine) as connection:
            at_s = self._clock()
            counts, told = import_labels(
                connection, rows, actor=actor, at_s=at_s, is_sample=is_sample
            )
            audit = append_audit(
                connection,
                at_s=at_s,
                actor=actor,
                action="labels",
                subject=subject,
                details=as_dict(counts) | {"source": source, "sample": is_sample},
            )
            add_history(connection, told, seq=audit.seq, is_sample=is_sample)
        return counts

    def labels(self, digests: Iterable[str]) -> dict[str, str]:
        """Labels of those images that have one, by image sha256."""
        with read(self._engine) as connection:
            return labels_of(connection, digests)

    def labels_given(self, after_seq: int = 0) -> tuple[LabelsGiven, ...]:
        """What was labelled after an audit row, oldest first."""
        with read(self._engine) as connection:
            return labels_given(connection, after_seq=after_seq)
