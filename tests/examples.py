"""One good example of a record that many tests begin with."""

from __future__ import annotations

import dataclasses

from redshank.events import SCHEMA, Event


def make_event(**changes: object) -> Event:
    """A prediction answered well, with changes."""
    plain = Event(
        schema=SCHEMA,
        event_id="e000000",
        received_at=1.0,
        domain="harbour",
        model="default",
        version="b1",
        role="live",
        outcome="ok",
        class_index=0,
        confidence=0.9,
        margin=0.8,
        novelty=0.5,
        dhash="0" * 16,
        brightness_mean=0.5,
        brightness_spread=0.2,
        sequence_id="",
        client="camera",
        latency_ms=3.0,
        image_sha256="",
        stored=False,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]  # any field
