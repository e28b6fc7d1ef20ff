"""What BentoML's supervisor (circus) leaves undone, set right before it starts.

It asks itself to quit once for each SIGTERM, and refuses while another command runs, such as
replacing a dead worker: the signal would be lost, and whoever sent it waits for a server that goes
on. In a container it replaces no dead worker: whoever runs the container sees nothing while one
lives. And where nothing can work, a Bento's workers would die one after another, for ever; here it
says why and ends, as `redshank serve` does. A Bento listens where `bentoml serve --host` says; its
workers are told, so that no setting of ours can call an open server private.
"""

from __future__ import annotations

import os
import sys

import click

from redshank.errors import RedshankError

from .launch import check_settings
from .packed import FOLDER, packed_settings

ASK_AGAIN_S = 0.1
BENTOML_HOST = "0.0.0.0"
"""Where `bentoml serve` listens when nothing is said."""


def mend_supervisor() -> None:
    """Do all of it where this process is the supervisor, nothing in a worker or elsewhere.

    Raises:
        SystemExit: settings or tokens of a Bento can never work; already said.
    """
    command = click.get_current_context(silent=True)
    if command is None or command.info_name not in ("serve", "serve-http"):
        return
    if FOLDER.is_dir():
        os.environ.pop("BENTOML_CONTAINERIZED", None)
        os.environ["REDSHANK_SERVING__HOST"] = command.params.get("host") or BENTOML_HOST
        _check_packed()
    _ask_until_heard()


def _check_packed() -> None:
    try:
        check_settings(packed_settings(os.environ))
    except (RedshankError, OSError) as error:
        print(f"redshank: {error}", file=sys.stderr)  # noqa: T201  # BentoML would add a traceback
        raise SystemExit(1) from error


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
