"""One stream (model version in one domain): its references, detectors and memory.

Everything here is a function of the counts of its ticks, one after the other. So replaying the
stored windows rebuilds the same state bit by bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from redshank.cells import FloatArray, mean_confidence
from redshank.store.monitor_rows import Evidence, ReferenceRow, StreamKey, Window

from .baseline import Baseline
from .counts import TickCounts
from .edetector import EDetector, threshold
from .labelled import LABELLED_DETECTION_SHARE, LABELLED_SHARE, Labelled, promise_of
from .names import PROVISIONAL_SCENES
from .quality import Health
from .sample import Sample, Totals, empty_sample
from .scenes import OpenScene
from .scores import Null, build_null

DETECTION_SHARE = 0.9
"""Share of alpha that the detectors spend; the rest covers the lower bounds, beyond which they do
not look."""
FADE = 0.9
"""How much of the recent counts each tick keeps."""
HEADROOM = 1e2
"""Evidence is capped at so many times the threshold, so that it fades when a drift has ended."""


@dataclass(frozen=True)
class Plan:
    """The promise and the practical margins, as in `[monitoring]`."""

    tick_s: float
    period_ticks: int
    false_alarms: float
    margin: float
    absolute_margin: float
    burn_in_scenes: int
    scene_gap_s: float
    scene_distance: int
    promise: Literal["domain", "fleet"] = "domain"
    max_domains: int = 1000
    keep_ticks: int = 0
    """How long windows are kept, in ticks; 0: for ever."""
    precision: str = "fp32"
    """Which artefact of a bundle answers, as `serving.precision`: its references count."""


@dataclass
class Detection:
    """A detector with its place and threshold."""

    reference: Literal["absolute", "relative"]
    detector: EDetector
    threshold: float
    strictness: float = 0.0
    """log10 of what the promise of the whole fleet asks beyond the threshold."""
    _shown: Evidence | None = None
    """Evidence as of the last tick; it is asked for many times."""

    def evidence(self) -> Evidence:
        """Evidence and threshold in log10; evidence below 1 is shown as 1."""
        if self._shown is None:
            self._shown = Evidence(
                total=_log10(self.detector.evidence),
                confidence=_log10(self.detector.evidence_of("confidence")),
                threshold=math.log10(self.threshold) + self.strictness,
            )
        return self._shown

    def ask_for_more(self, strictness: float) -> None:
        """Set `strictness`."""
        if strictness != self.strictness:
            self.strictness, self._shown = strictness, None

    def update(self, counts: TickCounts) -> None:
        """Take one tick."""
        self.detector.update(counts.counts, counts.tick)
        self._shown = None

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from an earlier state, unless it is of another null: then it begins anew.

        Other margins may keep other scores.
        """
        if self.detector.fits(state):
            self.detector.restore(state)
            self._shown = None


class Stream:
    """Takes the counts of one tick after the other."""

    def __init__(self, key: StreamKey, baseline: Baseline, plan: Plan) -> None:
        self.key = key
        self.baseline = baseline
        self.plan = plan
        self.burn_in = empty_sample()
        self.recent = empty_sample()
        self.totals = Totals()
        self.health = Health()
        self.open_scenes: tuple[OpenScene, ...] = ()
        self.seen: tuple[str, ...] = ()
        self.last_tick = -1
        self.last_event_s = 0.0
        self.is_accepted = False
        """Whether an operator accepted it as it is."""
        self.relative: Detection | None = None
        self.absolute = self._detection_absolute()
        self.labelled = self._labelled()

    @property
    def detections(self) -> tuple[Detection, ...]:
        """The detectors that exist now."""
        return tuple(d for d in (self.absolute, self.relative) if d is not None)

    @property
    def is_provisional(self) -> bool:
        """Whether its name has brought too little to be an established domain."""
        return self.totals.scenes < PROVISIONAL_SCENES

    @property
    def may_alarm(self) -> bool:
        """Whether an alarm would be about the model: a known name, and a camera that works."""
        return not self.is_provisional and not self.health.complaint

    def advance(self, counts: TickCounts) -> ReferenceRow | None:
        """Take one tick; returns the burn-in in the tick that completes it."""
        for detection in self.detections:
            detection.update(counts)
        self.recent = self.recent.plus(counts, keep=FADE)
        self.health.add(counts.events - counts.errors, counts.defects, keep=FADE)
        self.totals.add(counts)
        self.open_scenes, self.seen = counts.open_scenes, counts.seen
        self.last_tick, self.last_event_s = counts.tick, counts.last_event_s
        if self.relative is not None:
            return None
        self.burn_in = self.burn_in.plus(counts)
        if self.burn_in.scenes < self.plan.burn_in_scenes:
            return None
        self.relative = self._detection_relative()
        if self.relative is None:  # nothing can be tested against it yet: it goes on growing
            return None
        return ReferenceRow(
            key=self.key,
            kind="relative",
            tick=counts.tick,
            scenes=self.burn_in.scenes,
            cells_CZ=self.burn_in.cells_CZ,
            novelty_Q=self.burn_in.novelty_Q,
        )

    def window(self, counts: TickCounts) -> Window:
        """The window of the tick that was taken last."""
        mean = mean_confidence(counts.cells_CZ)
        return Window(
            key=self.key,
            tick=counts.tick,
            at_s=(counts.tick + 1) * self.plan.tick_s,
            events=counts.events,
            errors=counts.errors,
            scenes=counts.scenes,
            cells_CZ=counts.cells_CZ,
            novelty_Q=counts.novelty_Q,
            mean_confidence=None if math.isnan(mean) else mean,
            absolute=self.absolute.evidence() if self.absolute else None,
            relative=self.relative.evidence() if self.relative else None,
            state="learning",
            defects=counts.defects,
        )

    def accept(self, after_seq: int = 0) -> None:
        """Learn anew what is normal here.

        The absolute reference is set aside: it would go on to say what the operator has overruled.
        So are labels from before, those of audit rows up to `after_seq`.
        """
        self.is_accepted = True
        self.labelled.take(a for a in self.labelled.answers if a.seq > after_seq)
        self.burn_in = empty_sample()
        self.absolute = self.relative = None

    def memory(self) -> dict[str, Any]:
        """What `remember` needs, as JSON values."""
        return {
            "burn_in": self.burn_in.to_memory(),
            "recent": self.recent.to_memory(),
            "health": vars(self.health).copy(),
            "totals": vars(self.totals).copy(),
            "accepted": self.is_accepted,
            "open_scenes": [list(scene) for scene in self.open_scenes],
            "seen": list(self.seen),
            "last_tick": self.last_tick,
            "last_event_s": self.last_event_s,
            "absolute": self.absolute.detector.state() if self.absolute else None,
            "relative": self.relative.detector.state() if self.relative else None,
            "labelled": self.labelled.memory(),
        }

    def remember(self, memory: dict[str, Any]) -> None:
        """Continue from what `memory` gave; the labelled evidence follows from its own rows."""
        self.burn_in = Sample.from_memory(memory["burn_in"])
        self.recent = Sample.from_memory(memory["recent"])
        self.health = Health(**memory.get("health", {}))  # absent in databases of schema 1
        self.seen = tuple(memory.get("seen", ()))
        self.totals = Totals(**memory["totals"])
        self.open_scenes = tuple(OpenScene(*values) for values in memory["open_scenes"])
        self.last_tick, self.last_event_s = memory["last_tick"], memory["last_event_s"]
        if memory.get("accepted", False):
            self.is_accepted, self.absolute = True, None
        if memory["relative"] is not None:
            self.relative = self._detection_relative()
        for detection in self.detections:
            if (state := memory[detection.reference]) is not None:
                detection.restore(state)

    def _detection_absolute(self) -> Detection | None:
        null = self.baseline.absolute_null(delta=self._delta(), margin=self.plan.absolute_margin)
        if null is None:
            return None
        return self._detection("absolute", null)

    def _detection_relative(self) -> Detection | None:
        null = build_null(
            self.burn_in.counts,
            scenes=self.burn_in.scenes,
            delta=self._delta(),
            margin_confidence=self.plan.margin,
            margin_indicator=2 * self.plan.margin,
        )
        if null is None:
            return None
        return self._detection("relative", null)

    def _detection(self, reference: Literal["absolute", "relative"], null: Null) -> Detection:
        limit = self._threshold()
        most = limit * (self.plan.max_domains if self.plan.promise == "fleet" else 1)
        return Detection(reference, EDetector(null, highest=HEADROOM * most), limit)

    def _references(self) -> int:
        return 2 if self.baseline.held_out_DCZ.any() else 1

    def _labelled(self) -> Labelled:
        alpha = LABELLED_SHARE * self.plan.false_alarms
        promise = promise_of(
            self.baseline.labelled_CCZ,
            delta=(1 - LABELLED_DETECTION_SHARE) * alpha / self._sharing(),
            margin=self.plan.margin,
        )
        period_s = self.plan.tick_s * self.plan.period_ticks
        return Labelled(promise, period_s=period_s, alpha=LABELLED_DETECTION_SHARE * alpha)

    def _alpha(self) -> float:
        """What one reference may spend without labels."""
        return (1 - LABELLED_SHARE) * self.plan.false_alarms / self._references()

    def _threshold(self) -> float:
        spent = DETECTION_SHARE * self._alpha()
        return threshold(self.plan.period_ticks, spent)

    def _delta(self) -> float:
        """Chance that a bound is wrong; the promise of a fleet is about those of all domains."""
        return (1 - DETECTION_SHARE) * self._alpha() / self._sharing()

    def _sharing(self) -> int:
        """How many domains share one promise."""
        return self.plan.max_domains if self.plan.promise == "fleet" else 1


def _log10(evidence: FloatArray) -> float:
    return math.log10(max(float(evidence), 1.0))
