"""Reads the images of the next step while the device computes this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from .batches import Batch, Batches, Drawn


class Prefetched:
    """`Batches` whose `draw` runs one step ahead in a thread; the same batches come out.

    Drawing takes images out of the mapped file (or decodes them) and pins them for an asynchronous
    transfer; views are made on the device, in the training thread.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._next: tuple[int, Future[tuple[Drawn, Drawn]]] | None = None

    def batch(self, step: int) -> Batch:
        """As `Batches.batch`; then begins to draw the step after it."""
        if self._next is None or self._next[0] != step:
            self._next = self._drawing(step)
        drawn = self._next[1].result()
        self._next = self._drawing(step + 1)
        return self._batches.views(step, *drawn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends the thread."""
        self._pool.shutdown(cancel_futures=True)

    def _drawing(self, step: int) -> tuple[int, Future[tuple[Drawn, Drawn]]]:
        return step, self._pool.submit(self._batches.draw, step)
