"""A field store that follows a mirror: what a retraining loop on another machine reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from redshank.errors import RedshankError
from redshank.field_mirror import Pass, pull
from redshank.fieldstore import FieldImage, FieldStore
from redshank.object_folder import ObjectFolder

WITHIN_S = 20.0
"""Longest time that one look takes; the rest comes with the next ones. Leases last longer."""


class FollowingFieldStore(FieldStore):
    """Pulls before images are listed, at most once in a while; a mirror that is away is said.

    Args:
        root: the folder `field/`, where images are kept too.
        mirror: what to follow.
        every_s: seconds between two passes that found everything.
        say: gets one line where a pass did or failed something.
        clock_s: seconds that only grow.
    """

    def __init__(
        self,
        root: Path,
        mirror: ObjectFolder,
        *,
        every_s: float,
        say: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(root)
        self._place, self._mirror, self._every_s = root, mirror, every_s
        self._say, self._clock_s = say, clock_s
        self._next_s = float("-inf")

    def images(self, domain: str, *, since_s: float | None = None) -> tuple[FieldImage, ...]:
        """As `FieldStore.images`, after a look at the mirror."""
        self._follow()
        return super().images(domain, since_s=since_s)

    def domains(self) -> tuple[str, ...]:
        """As `FieldStore.domains`, after a look at the mirror."""
        self._follow()
        return super().domains()

    def _follow(self) -> None:
        if self._clock_s() < self._next_s:
            return
        self._next_s = self._clock_s() + self._every_s
        try:
            done = pull(self._place, self._mirror, within_s=WITHIN_S)
        except (RedshankError, OSError) as error:
            self._say(f"{self._mirror} cannot be followed, kept images are used: {error}")
            return
        if done.left and not done.failed:
            self._next_s = self._clock_s() + WITHIN_S  # only the time was over
        if done != Pass():
            self._say(f"{self._mirror}: {summary(done)}")


def summary(done: Pass) -> str:
    """One line: what a pass did."""
    values = [
        (done.uploaded, "images uploaded"),
        (done.downloaded, "images downloaded"),
        (done.removed, "removed"),
        (done.forgotten, "forgotten"),
        (done.failed, "failed"),
        (done.left, "left for the next pass"),
    ]
    text = ", ".join(f"{count} {what}" for count, what in values if count) or "nothing to do"
    return "; ".join([text, *done.problems])
