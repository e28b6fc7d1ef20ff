"""The life of a worker process: start, drain on SIGTERM, stop, never outlive the supervisor.

uvicorn stops listening at once when it is told to end, so connections of clients and balancers that
have not noticed yet would hang. Here SIGTERM first turns readiness off; for `drain_s` seconds new
requests get 503 with `Connection: close`, and only then uvicorn is told.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from starlette.applications import Starlette

from redshank.errors import ConfigError
from redshank.files import read_json
from redshank.records import from_dict
from redshank.settings import Settings

from . import packed
from .worker import Slot, Worker

SETTINGS_FILE = "REDSHANK_SERVE_SETTINGS"
"""Environment variable that names the resolved settings, as `redshank serve` wrote them."""
SUPERVISOR = "REDSHANK_SERVE_SUPERVISOR"
"""Environment variable with the process id of the supervisor."""
ORPHAN_POLL_S = 1.0
log = logging.getLogger("redshank.serving")


def resolved_settings() -> Settings:
    """The settings that `redshank serve` resolved for its workers, or those of a Bento.

    Raises:
        ConfigError: the process was started by neither.
    """
    path = os.environ.get(SETTINGS_FILE, "")
    if not path and packed.FOLDER.is_dir():
        return packed.packed_settings(os.environ)
    if not path:
        raise ConfigError(
            f"{SETTINGS_FILE} is not set", hint="Start the service with `redshank serve`."
        )
    return from_dict(Settings, read_json(Path(path)), source=path)


def worker_lifespan(
    slot: Slot, settings: Callable[[], Settings] = resolved_settings
) -> Callable[[Starlette], Any]:
    """A Starlette lifespan that fills `slot` with a running worker and empties it again."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        _log_to_stderr()
        worker = Worker(settings())
        await asyncio.to_thread(worker.start)
        slot.worker = worker
        if threading.current_thread() is threading.main_thread():
            drain_on_sigterm(worker, asyncio.get_running_loop())
            _end_with_supervisor(int(os.environ.get(SUPERVISOR, os.getppid())))
        try:
            yield
        finally:
            worker.draining = True
            await asyncio.to_thread(worker.stop)
            slot.worker = None

    return lifespan


def _log_to_stderr() -> None:
    """BentoML writes what reaches the root logger; without it our lines need a handler."""
    logger = logging.getLogger("redshank")
    logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(message)s"))
        logger.addHandler(handler)


def drain_on_sigterm(worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    """Put a drain in front of whatever SIGTERM did before; a second SIGTERM skips it."""
    before = signal.getsignal(signal.SIGTERM)

    def end() -> None:
        if callable(before):
            before(signal.SIGTERM, None)

    def drain(_number: int, _frame: FrameType | None) -> None:
        wait_s = 0.0 if worker.draining else worker.drain_s
        worker.draining = True
        loop.call_soon_threadsafe(loop.call_later, wait_s, end)

    signal.signal(signal.SIGTERM, drain)


def _end_with_supervisor(supervisor: int) -> None:
    """End this worker when its supervisor was killed: an orphan would hold the port."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(ORPHAN_POLL_S):
            if os.getppid() != supervisor:
                log.warning("the supervisor is gone, this worker ends")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=watch, name="orphan-watch", daemon=True).start()
