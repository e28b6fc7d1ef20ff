"""Tables of the monitor database, and rows to and from them."""

from __future__ import annotations

import json
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
import sqlalchemy as sa

from redshank.cells import NUM_CONFIDENCE_BINS, FloatArray

from .monitor_rows import (
    Acceptance,
    Alarm,
    Defects,
    Evidence,
    ReferenceRow,
    StreamKey,
    StreamRow,
    Window,
)

SCHEMA = 2
DEFECTS = tuple(f.name for f in fields(Defects))
METADATA = sa.MetaData()


def key_columns() -> list[sa.Column[str]]:
    """Fresh columns of a `StreamKey`, part of the primary key."""
    return [sa.Column(name, sa.String, primary_key=True) for name in StreamKey._fields]


def _evidence_columns(*detectors: str) -> list[sa.Column[float]]:
    parts = ("total", "confidence", "threshold")
    return [sa.Column(f"{d}_{part}", sa.Double) for d in detectors for part in parts]


META = sa.Table(
    "monitor_meta",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
CURSORS = sa.Table(
    "monitor_cursors",
    METADATA,
    sa.Column("spool", sa.String, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("tick", sa.BigInteger, nullable=False),
)
WINDOWS = sa.Table(
    "monitor_windows",
    METADATA,
    *key_columns(),
    sa.Column("tick", sa.BigInteger, primary_key=True),
    sa.Column("at_s", sa.Double, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
    sa.Column("scenes", sa.Integer, nullable=False),
    sa.Column("cells", sa.LargeBinary, nullable=False),
    sa.Column("novelty", sa.LargeBinary, nullable=False),
    sa.Column("mean_confidence", sa.Double),
    *_evidence_columns("absolute", "relative"),
    sa.Column("state", sa.String, nullable=False),
    *[sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in DEFECTS],
)
STREAMS = sa.Table(
    "monitor_streams",
    METADATA,
    *key_columns(),
    sa.Column("last_tick", sa.BigInteger, nullable=False),
    sa.Column("last_event_s", sa.Double, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("memory", sa.Text, nullable=False),
)
REFERENCES = sa.Table(
    "monitor_references",
    METADATA,
    *key_columns(),
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("tick", sa.BigInteger, primary_key=True),
    sa.Column("scenes", sa.Double, nullable=False),
    sa.Column("cells", sa.LargeBinary, nullable=False),
    sa.Column("novelty", sa.LargeBinary, nullable=False),
)
ALARMS = sa.Table(
    "monitor_alarms",
    METADATA,
    sa.Column("alarm_id", sa.String, primary_key=True),
    *[sa.Column(name, sa.String, nullable=False) for name in StreamKey._fields],
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("cause", sa.String, nullable=False),
    sa.Column("reference", sa.String, nullable=False),
    sa.Column("onset_s", sa.Double, nullable=False),
    sa.Column("raised_tick", sa.BigInteger, nullable=False),
    sa.Column("raised_s", sa.Double, nullable=False),
    *_evidence_columns("evidence"),
    sa.Column("images_since_onset", sa.Integer, nullable=False),
    sa.Column("scenes_since_onset", sa.Integer, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("trigger", sa.Text),
    sa.Column("trigger_sent", sa.Boolean, nullable=False),
    sa.Column("closed_s", sa.Double),
    sa.Column("closed_reason", sa.Text, nullable=False),
)
ACCEPTANCES = sa.Table(
    "monitor_acceptances",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    *[sa.Column(name, sa.String, nullable=False) for name in StreamKey._fields],
    sa.Column("tick", sa.BigInteger, nullable=False),
    sa.Column("at_s", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
CHECKPOINTS = sa.Table(
    "monitor_checkpoints",
    METADATA,
    *key_columns(),
    sa.Column("tick", sa.BigInteger, primary_key=True),
    sa.Column("memory", sa.Text, nullable=False),
)


def pack(array: FloatArray) -> bytes:
    """Float64 bytes, compressed; exact."""
    return zlib.compress(np.ascontiguousarray(array, dtype="<f8").tobytes(), 1)


def unpack_cells(data: bytes) -> FloatArray:
    """Cells [C, NUM_CONFIDENCE_BINS]."""
    return np.frombuffer(zlib.decompress(data), dtype="<f8").reshape(-1, NUM_CONFIDENCE_BINS)


def unpack(data: bytes) -> FloatArray:
    """A one-dimensional array."""
    return np.frombuffer(zlib.decompress(data), dtype="<f8")


def window_values(window: Window) -> dict[str, Any]:
    """A row of `WINDOWS`."""
    return {
        **window.key._asdict(),
        "tick": window.tick,
        "at_s": window.at_s,
        "events": window.events,
        "errors": window.errors,
        "scenes": window.scenes,
        "cells": pack(window.cells_CZ),
        "novelty": pack(window.novelty_Q),
        "mean_confidence": window.mean_confidence,
        **_evidence_values("absolute", window.absolute),
        **_evidence_values("relative", window.relative),
        "state": window.state,
        **vars(window.defects),
    }


def window_of(row: Any) -> Window:
    """A `Window` from its row."""
    return Window(
        key=StreamKey(row.model, row.version, row.domain),
        tick=row.tick,
        at_s=row.at_s,
        events=row.events,
        errors=row.errors,
        scenes=row.scenes,
        cells_CZ=unpack_cells(row.cells),
        novelty_Q=unpack(row.novelty),
        mean_confidence=row.mean_confidence,
        absolute=_evidence_of(row, "absolute"),
        relative=_evidence_of(row, "relative"),
        state=row.state,
        defects=Defects(*(getattr(row, name) for name in DEFECTS)),
    )


def stream_values(stream: StreamRow) -> dict[str, Any]:
    """A row of `STREAMS`."""
    return {
        **stream.key._asdict(),
        "last_tick": stream.last_tick,
        "last_event_s": stream.last_event_s,
        "state": stream.state,
        "sentence": stream.sentence,
        "detail": json.dumps(stream.detail),
        "memory": json.dumps(stream.memory),
    }


def stream_of(row: Any) -> StreamRow:
    """A `StreamRow` from its row."""
    return StreamRow(
        key=StreamKey(row.model, row.version, row.domain),
        last_tick=row.last_tick,
        last_event_s=row.last_event_s,
        state=row.state,
        sentence=row.sentence,
        detail=json.loads(row.detail),
        memory=json.loads(row.memory),
    )


def reference_values(reference: ReferenceRow) -> dict[str, Any]:
    """A row of `REFERENCES`."""
    return {
        **reference.key._asdict(),
        "kind": reference.kind,
        "tick": reference.tick,
        "scenes": reference.scenes,
        "cells": pack(reference.cells_CZ),
        "novelty": pack(reference.novelty_Q),
    }


def acceptance_values(acceptance: Acceptance) -> dict[str, Any]:
    """A row of `ACCEPTANCES`."""
    names = ("seq", "tick", "at_s", "actor", "reason")
    return {**acceptance.key._asdict(), **{name: getattr(acceptance, name) for name in names}}


def acceptance_of(row: Any) -> Acceptance:
    """An `Acceptance` from its row."""
    key = StreamKey(row.model, row.version, row.domain)
    return Acceptance(row.seq, key, row.tick, row.at_s, row.actor, row.reason)


def alarm_values(alarm: Alarm) -> dict[str, Any]:
    """A row of `ALARMS`."""
    plain = {
        name: getattr(alarm, name)
        for name in ALARMS.columns.keys()  # noqa: SIM118  # a column collection, not a dict
        if hasattr(alarm, name)
    }
    return {
        **plain,
        **alarm.key._asdict(),
        **_evidence_values("evidence", alarm.evidence),
        "trigger": None if alarm.trigger is None else json.dumps(alarm.trigger),
    }


def alarm_of(row: Any) -> Alarm:
    """An `Alarm` from its row."""
    evidence = _evidence_of(row, "evidence")
    assert evidence is not None
    return Alarm(
        alarm_id=row.alarm_id,
        key=StreamKey(row.model, row.version, row.domain),
        kind=row.kind,
        cause=row.cause,
        reference=row.reference,
        onset_s=row.onset_s,
        raised_tick=row.raised_tick,
        raised_s=row.raised_s,
        evidence=evidence,
        images_since_onset=row.images_since_onset,
        scenes_since_onset=row.scenes_since_onset,
        sentence=row.sentence,
        trigger=None if row.trigger is None else json.loads(row.trigger),
        trigger_sent=row.trigger_sent,
        closed_s=row.closed_s,
        closed_reason=row.closed_reason,
    )


def _evidence_values(prefix: str, evidence: Evidence | None) -> dict[str, float | None]:
    return {
        f"{prefix}_{part}": None if evidence is None else getattr(evidence, part)
        for part in ("total", "confidence", "threshold")
    }


def _evidence_of(row: Any, prefix: str) -> Evidence | None:
    total = getattr(row, f"{prefix}_total")
    if total is None:
        return None
    return Evidence(
        total, getattr(row, f"{prefix}_confidence"), getattr(row, f"{prefix}_threshold")
    )
