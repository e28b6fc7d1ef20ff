"""Labelled answers in the monitor database: what the labelled evidence is rebuilt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

import sqlalchemy as sa

from . import engine as db
from .monitor_rows import LabelledAnswer, StreamKey
from .monitor_schema import METADATA, key_columns

LABELLED = sa.Table(
    "monitor_labelled",
    METADATA,
    *key_columns(),
    sa.Column("image_sha256", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("tick", sa.BigInteger, nullable=False),
    sa.Column("labelled_s", sa.Double, nullable=False),
    sa.Column("received_s", sa.Double, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("sequence_id", sa.Text, nullable=False),
    sa.Column("dhash", sa.Text, nullable=False),
    sa.Column("class_index", sa.Integer, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("is_right", sa.Boolean, nullable=False),
    sa.Column("weight", sa.Double, nullable=False),
)
_PLAIN = tuple(f.name for f in fields(LabelledAnswer) if f.name != "key")


def write_labelled(connection: sa.Connection, answers: Iterable[LabelledAnswer]) -> None:
    """Insert answers, each in place of an older row of the same stream and image."""
    rows = [a.key._asdict() | {name: getattr(a, name) for name in _PLAIN} for a in answers]
    if not rows:
        return
    names = [column.name for column in LABELLED.primary_key]
    same = sa.and_(*(LABELLED.c[name] == sa.bindparam(f"old_{name}") for name in names))
    connection.execute(
        sa.delete(LABELLED).where(same), [{f"old_{n}": row[n] for n in names} for row in rows]
    )
    connection.execute(sa.insert(LABELLED), rows)


def forget_labelled(connection: sa.Connection, oldest: Mapping[StreamKey, int]) -> None:
    """Delete the answers of audit rows before the one that a stream keeps as its oldest."""
    for key, seq in oldest.items():
        same = (LABELLED.c[name] == value for name, value in key._asdict().items())
        connection.execute(sa.delete(LABELLED).where(*same, LABELLED.c.seq < seq))


def labelled_answers(engine: sa.Engine) -> dict[StreamKey, tuple[LabelledAnswer, ...]]:
    """Every labelled answer by stream, in the order in which they were labelled.

    A database of a redshank that knew no labelled evidence has none.
    """
    found: dict[StreamKey, list[LabelledAnswer]] = {}
    columns = LABELLED.c
    with db.read(engine) as connection:
        if not sa.inspect(connection).has_table(LABELLED.name):
            return {}
        for row in connection.execute(
            sa.select(LABELLED).order_by(columns.seq, columns.image_sha256)
        ):
            key = StreamKey(row.model, row.version, row.domain)
            plain = {name: getattr(row, name) for name in _PLAIN}
            found.setdefault(key, []).append(LabelledAnswer(key, **plain))
    return {key: tuple(answers) for key, answers in found.items()}
