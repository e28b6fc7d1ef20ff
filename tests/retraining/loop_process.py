"""The loop as a process that tests can kill: python -m tests.retraining.loop_process HOME MODELS.

Runs until SIGTERM, or until the given healing has ended; the lease lives for 0.6 s.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from redshank.cli.retrain import stop_on_signals
from redshank.healing import ENDS
from retraining.loop import run_loop
from tests.retraining.tiny_world import World


def main() -> None:
    world = World(Path(sys.argv[1]), Path(sys.argv[2]))
    store = world.open_store()
    signalled = stop_on_signals()

    def stop() -> bool:
        return signalled.is_set() or all(healing.state in ENDS for healing in store.healings())

    run_loop(
        world.place(store, world.rules(lease_s=0.6)),
        holder=f"process {os.getpid()}",
        once=False,
        stop=stop,
    )
    print("\n".join(world.said), file=sys.stderr)


if __name__ == "__main__":
    main()
