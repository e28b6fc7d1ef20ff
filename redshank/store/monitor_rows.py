"""Rows of the monitor database as frozen dataclasses.

A *stream* is one model version in one domain. Times are seconds since the epoch; a tick is the
number of tick lengths since the epoch; evidence and thresholds are log10.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from redshank.cells import FloatArray

State = Literal["learning", "healthy", "drift", "degraded", "unknown", "silent"]
STATES: tuple[State, ...] = ("learning", "healthy", "drift", "degraded", "unknown", "silent")


class StreamKey(NamedTuple):
    """One model version in one domain."""

    model: str
    version: str
    domain: str


@dataclass(frozen=True)
class Evidence:
    """What one detector says after a tick, log10 of the evidence against "nothing got worse"."""

    total: float
    """All scores: compared with the threshold, this is drift."""
    confidence: float
    """The part of mean confidence alone: compared with the threshold, this is degradation."""
    threshold: float


@dataclass(frozen=True)
class Defects:
    """Images of a tick that say something of the camera and nothing of the model."""

    undecodable: int = 0
    """They count as errors too."""
    even: int = 0
    """Of one even colour."""
    repeated: int = 0
    """Byte for byte a file that came shortly before."""


@dataclass(frozen=True)
class Window:
    """What one stream showed in one tick, and what the detectors said after it."""

    key: StreamKey
    tick: int
    at_s: float
    """End of the tick."""
    events: int
    errors: int
    """Requests that were not answered with a class."""
    scenes: int
    cells_CZ: FloatArray
    """Scene-weighted counts (predicted class, confidence bin)."""
    novelty_Q: FloatArray
    mean_confidence: float | None
    absolute: Evidence | None
    """Against held-out source domains; None where the bundle has no such reference."""
    relative: Evidence | None
    """Against the stream's own burn-in; None while learning."""
    state: State
    defects: Defects = field(default_factory=Defects)


@dataclass(frozen=True)
class StreamRow:
    """Where a stream stands: what continues it after a restart, and what people are told."""

    key: StreamKey
    last_tick: int
    last_event_s: float
    state: State
    sentence: str
    detail: dict[str, Any]
    """Numbers behind the sentence."""
    memory: dict[str, Any]
    """Detector state, burn-in and open scenes; private to the evaluator."""


@dataclass(frozen=True)
class ReferenceRow:
    """A burn-in that was frozen into a reference."""

    key: StreamKey
    kind: Literal["relative"]
    tick: int
    scenes: float
    cells_CZ: FloatArray
    novelty_Q: FloatArray


@dataclass(frozen=True)
class Acceptance:
    """An operator's word that a stream's present state is its new normal, as it was applied."""

    seq: int
    """Number of the audit row in the control database that asked for it."""
    key: StreamKey
    tick: int
    """Applied after this tick."""
    at_s: float
    actor: str
    reason: str


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer of a stream to an image that somebody labelled, as the evaluator counts it."""

    key: StreamKey
    image_sha256: str
    seq: int
    """Number of the audit row in the control database that brought the first label."""
    tick: int
    """Counted after this tick."""
    labelled_s: float
    """When it was labelled first."""
    received_s: float
    """When the image was answered."""
    client: str
    sequence_id: str
    dhash: str
    class_index: int
    """The answer."""
    label: str
    """The newest one: a class name, or `?` where nobody can tell."""
    is_right: bool
    weight: float
    """Share of a scene: 1 / labelled frames of the scene; 0 where it counts for nothing."""


@dataclass(frozen=True)
class Alarm:
    """One alarm from its raising to its end."""

    alarm_id: str
    key: StreamKey
    kind: Literal["drift", "degraded"]
    cause: str
    """look, mix, both, shape, novelty, confidence_up or labels."""
    reference: Literal["absolute", "relative", "labelled"]
    onset_s: float
    raised_tick: int
    raised_s: float
    evidence: Evidence
    images_since_onset: int
    scenes_since_onset: int
    sentence: str
    trigger: dict[str, Any] | None
    """The trigger that was written for it."""
    trigger_sent: bool = False
    closed_s: float | None = None
    closed_reason: str = ""
