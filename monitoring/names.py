"""Which labels are domains: everybody may send a new name, nobody can flood the fleet with them.

A name is provisional until it has brought `PROVISIONAL_SCENES` scenes: it is watched, and raises no
alarm. At most `most` names are domains. When all places are taken, a new name takes that of the
weakest provisional one (fewest scenes, then longest unseen) which has not been heard in this tick;
where there is none, its events count as `other`. Established names never give way.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import NamedTuple

OTHER = "other"
"""Domain that takes the events of labels without a place."""
PROVISIONAL_SCENES = 30


class Standing(NamedTuple):
    """How much a name has brought; the smaller, the weaker."""

    scenes: int
    last_tick: int

    @property
    def is_provisional(self) -> bool:
        """Whether it may have to give way."""
        return self.scenes < PROVISIONAL_SCENES


class Names:
    """The places of one tick; made anew for each."""

    def __init__(self, known: Mapping[str, Standing], *, most: int) -> None:
        self._places = set(known)
        self._most = most
        self._heard: set[str] = set()
        weak = [(s, name) for name, s in known.items() if s.is_provisional and name != OTHER]
        heapq.heapify(weak)
        self._weak = weak
        self.given_up: list[str] = []
        """Names that lost their place in this tick."""

    def domain_of(self, label: str) -> str:
        """The label as a domain."""
        if label not in self._places:
            if (
                len(self._places) - (OTHER in self._places) >= self._most
                and not self._give_up_one()
            ):
                return OTHER
            self._places.add(label)
        self._heard.add(label)
        return label

    def _give_up_one(self) -> bool:
        while self._weak:
            _, name = heapq.heappop(self._weak)
            if name not in self._heard:
                self._places.discard(name)
                self.given_up.append(name)
                return True
        return False
