"""Tables of the control database, and its hash-chained audit trail."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
)

from redshank.files import rfc3339
from redshank.healing import SCHEMA as AUDIT_SCHEMA
from redshank.healing import AuditRow, audit_sha256
from redshank.records import as_dict, check_schema, from_dict

METADATA = MetaData()

TRIGGERS = Table(
    "triggers",
    METADATA,
    Column("trigger_id", String(64), primary_key=True),
    Column("idempotency_key", String(64), nullable=False, unique=True),
    Column("record", Text, nullable=False),
)
HEALINGS = Table(
    "healings",
    METADATA,
    Column("healing_id", String(64), primary_key=True),
    Column("trigger_id", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("record", Text, nullable=False),
)
AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("record", Text, nullable=False),
)
LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("token", Integer, nullable=False),
    Column("expires_at_s", Double, nullable=False),
)
LABELS = Table(
    "labels",
    METADATA,
    Column("image_sha256", String(64), primary_key=True),
    Column("label", Text, nullable=False),
    Column("imported_at", String(32), nullable=False),
    Column("actor", Text, nullable=False),
)
LABEL_HISTORY = Table(
    "label_history",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("image_sha256", String(64), primary_key=True, index=True),
    Column("label", Text, nullable=False),
    Column("is_sample", Boolean, nullable=False),
)
MARKS = Table(
    "marks",
    METADATA,
    Column("name", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)


def append_audit(
    connection: Connection,
    *,
    at_s: float,
    actor: str,
    action: str,
    subject: str,
    details: dict[str, Any],
) -> AuditRow:
    """Add the next link of the chain, inside the transaction of what it reports."""
    last = connection.execute(
        select(AUDIT.c.seq, AUDIT.c.sha256).order_by(AUDIT.c.seq.desc()).limit(1)
    ).first()
    values: dict[str, Any] = {
        "schema": AUDIT_SCHEMA,
        "seq": last.seq + 1 if last else 1,
        "at": rfc3339(at_s),
        "actor": actor,
        "action": action,
        "subject": subject,
        "details": json.loads(json.dumps(details)),  # as it will be read back
        "previous_sha256": last.sha256 if last else "",
    }
    digest = audit_sha256(AuditRow(**values, sha256=""))
    row = AuditRow(**values, sha256=digest)
    connection.execute(insert(AUDIT).values(seq=row.seq, sha256=digest, record=to_text(row)))
    return row


def read_audit(connection: Connection, *, after_seq: int = 0) -> tuple[AuditRow, ...]:
    """The rows of the trail after a number, oldest first."""
    query = select(AUDIT.c.record).where(AUDIT.c.seq > after_seq).order_by(AUDIT.c.seq)
    rows = connection.execute(query)
    return tuple(_audit_row(record) for (record,) in rows)


def audit_rows(connection: Connection, seqs: Iterable[int]) -> tuple[AuditRow, ...]:
    """The rows with these numbers, oldest first."""
    found: list[AuditRow] = []
    for seq in sorted(seqs):
        record = connection.execute(select(AUDIT.c.record).where(AUDIT.c.seq == seq)).scalar_one()
        found.append(_audit_row(record))
    return tuple(found)


def to_text(record: Any) -> str:
    """A record as the JSON text of its `record` column."""
    return json.dumps(as_dict(record), ensure_ascii=False, allow_nan=False)


def _audit_row(record: str) -> AuditRow:
    values = json.loads(record)
    check_schema(values, current=AUDIT_SCHEMA, source="audit")
    return from_dict(AuditRow, values, source="audit")
