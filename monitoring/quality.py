"""The camera before the model: images that say nothing about it, and what they say of the camera.

A broken camera is not a reason to retrain. So images of one even colour, and files that came byte
for byte before, are no evidence; and while a large share of the recent images is like that, or
cannot be decoded, no alarm about the model is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from redshank.events import OK, Event
from redshank.store.monitor_rows import Defects

UNDECODABLE = frozenset({"invalid_image", "unsupported_format", "image_too_large"})
"""Error codes that are the sender's doing."""
EVEN = 0.01
"""Standard deviation of the grey level below which an image shows nothing: 2.5 of 255 levels."""
REMEMBERED = 32
"""Different images of a stream whose bytes are recognised when they come again."""
DIGITS = 12
"""Hex digits of a digest that are remembered."""
MOST_BAD = 0.2
"""Share of defective images from which the camera is to be looked at."""
LEAST_BAD = 10.0
"""Defective images below which a share says nothing."""


@dataclass(frozen=True)
class Inspected:
    """The answered events of one tick of one stream, without those that show nothing."""

    usable: tuple[Event, ...]
    defects: Defects
    seen: tuple[str, ...]
    """Digests of the newest different images, oldest first."""


def inspect(events: Sequence[Event], seen: Iterable[str] = ()) -> Inspected:
    """Sort out what is no evidence.

    Args:
        events: of one stream and tick, in order of time.
        seen: what the previous tick returned.
    """
    recent = dict.fromkeys(seen)
    usable, even, repeated = [], 0, 0
    for event in events:
        if event.outcome != OK or event.class_index < 0:
            continue
        digest = event.image_sha256[:DIGITS]
        is_repeated = digest in recent
        if digest:
            recent.pop(digest, None)
            recent[digest] = None  # the newest place
            if len(recent) > REMEMBERED:
                del recent[next(iter(recent))]
        if is_repeated:
            repeated += 1
        elif event.dhash and event.brightness_spread < EVEN:
            even += 1
        else:
            usable.append(event)
    undecodable = sum(event.outcome in UNDECODABLE for event in events)
    return Inspected(tuple(usable), Defects(undecodable, even, repeated), tuple(recent))


@dataclass
class Health:
    """Faded counts of recent images and their defects."""

    images: float = 0.0
    undecodable: float = 0.0
    even: float = 0.0
    repeated: float = 0.0

    def add(self, answered: int, defects: Defects, *, keep: float) -> None:
        """Fade to `keep` and count one more tick."""
        new = np.array([answered + defects.undecodable, *vars(defects).values()], dtype=np.float64)
        faded = np.array(list(vars(self).values())) * keep + new
        self.images, self.undecodable, self.even, self.repeated = (float(n) for n in faded)

    @property
    def complaint(self) -> str:
        """What is wrong with the camera, in one sentence; empty when nothing is."""
        bad = self.undecodable + self.even + self.repeated
        if bad < LEAST_BAD or bad < MOST_BAD * self.images:
            return ""
        parts = {
            "cannot be decoded": self.undecodable,
            "are of one even colour": self.even,
            "are files that came before": self.repeated,
        }
        shares = [f"{count / self.images:.0%} {what}" for what, count in parts.items() if count]
        return f"Look at the camera: of its recent images {', '.join(shares)}."
