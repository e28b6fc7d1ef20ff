"""What the demo says: numbered steps, one line of explanation each, results indented below."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

STEPS = 7


class Console:
    """Prints the steps and remembers how long each took."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._number = 0
        self.seconds: dict[str, float] = {}
        self.peak_memory_mib: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, explanation: str) -> Iterator[None]:
        """One numbered step of the ring."""
        self._number += 1
        self.say(f"\n[{self._number}/{STEPS}] {explanation}", indent=0)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        self.say(f"{self.seconds[name]:.1f} s")

    def say(self, text: str, *, indent: int = 6) -> None:
        """Print a text, each line indented."""
        for line in text.splitlines() or [""]:
            print(" " * indent + line if line else "", file=self._stream, flush=True)

    def remember_memory(self, stage: str, peak_mib: float) -> None:
        """Keep the largest memory that a stage was seen with."""
        self.peak_memory_mib[stage] = round(max(peak_mib, self.peak_memory_mib.get(stage, 0.0)), 1)


def percent(share: float | None) -> str:
    """`95.3 %`, or a dash for what is unknown."""
    return "-" if share is None else f"{100 * share:.1f} %"
