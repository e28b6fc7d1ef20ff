"""Two things that BentoML's supervisor (circus) leaves undone, set right before it starts.

It asks itself to quit once for each SIGTERM, and refuses while another command runs, such as
replacing a dead worker: the signal would be lost, and whoever sent it waits for a server that goes
on. In a container it replaces no dead worker: whoever runs the container sees nothing while one
lives.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from .packed import FOLDER

ASK_AGAIN_S = 0.1


def mend_supervisor(modules: Collection[str] = sys.modules) -> None:
    """Do both where this process is the supervisor: only that one has loaded BentoML's command."""
    if FOLDER.is_dir():
        os.environ.pop("BENTOML_CONTAINERIZED", None)
    if "bentoml_cli" in modules:
        _ask_until_heard()


def _ask_until_heard() -> None:
    from circus import controller, sighandler
    from circus.exc import ConflictError

    class Patient(sighandler.SysHandler):  # type: ignore[misc]  # untyped in circus
        """Ends the supervisor on SIGTERM, SIGINT and SIGQUIT, at once or after what it does."""

        def quit(self) -> None:
            """In the signal handler: leave it to the loop."""
            self.controller.loop.add_callback_from_signal(self._stop)

        def _stop(self) -> None:
            loop = self.controller.loop
            try:
                loop.add_future(self.controller.arbiter.stop(), lambda done: done.result())
            except ConflictError:  # it replaces a worker, or stops already
                loop.call_later(ASK_AGAIN_S, self._stop)

    controller.SysHandler = Patient
