"""TensorRT plans for what is served: built beside, one at a time, and handed over when they hold.

The watcher's thread asks at each of its looks. One worker of the machine holds the lock of a bundle
and builds; the others wait for it and then find the plan in the cache. A bundle whose plan fails
stays with ONNX Runtime until the server starts again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from redshank.errors import RedshankError
from redshank.infer import Model
from redshank.plan_on_demand import PlanBuild, load_runtime, planned_model, runs_a_plan
from redshank.settings import Settings

from .prepare import Prepared, batch_limit

WAITING, BUILDING, READY, FAILED = "waiting", "building", "ready", "failed"
"""States of a plan in `/v1/models`; waiting: another worker or another bundle is being built."""
log = logging.getLogger("redshank.serving")


class Build(Protocol):
    """What is needed of `redshank.plan_on_demand.PlanBuild`."""

    def poll(self) -> Path | None:
        """The plan's folder when it is there; StageError when there will be none."""

    def stop(self) -> None:
        """End it."""


class Plans:
    """Plans of the bundles that a worker serves; used from the watcher's thread.

    Args:
        folder: the cache, for its locks.
        start: begins a build of a bundle's folder in a precision.
        max_batch: largest batch limit allowed.
        runtime: gives TensorRT and CUDA.
    """

    def __init__(
        self,
        folder: Path,
        start: Callable[[Path, str], Build],
        *,
        max_batch: int,
        runtime: Callable[[], tuple[Any, Any]] = load_runtime,
    ) -> None:
        self._folder, self._start, self._runtime = folder, start, runtime
        self._max_batch = max_batch
        self._running: tuple[str, Build, int] | None = None
        self._states: dict[str, str] = {}

    def planned(self, model: Model) -> Prepared | None:
        """The same bundle on TensorRT, once its plan is built and its golden answers held there.

        It is measured and warmed up as a new release is.

        Args:
            model: a loaded bundle on ONNX Runtime.
        """
        bundle = model.bundle.bundle_id
        if runs_a_plan(model) or self._states.get(bundle, "").startswith(FAILED):
            return None
        try:
            return self._take(model, bundle)
        except Exception as error:  # whatever NVIDIA's libraries raise, ONNX Runtime answers
            text = error.message if isinstance(error, RedshankError) else repr(error)
            self._states[bundle] = f"{FAILED}: {text}"
            log.error("%s stays with ONNX Runtime: %s", bundle, text)
            return None

    def state(self, model: Model) -> str:
        """What `/v1/models` says of a bundle's plan."""
        return READY if runs_a_plan(model) else self._states.get(model.bundle.bundle_id, WAITING)

    def keep(self, bundles: Collection[str]) -> None:
        """End a build whose bundle is served no more."""
        if self._running is not None and self._running[0] not in bundles:
            self.stop()

    def stop(self) -> None:
        """End a build that runs."""
        if self._running is not None:
            self._running[1].stop()
            self._release()

    def _take(self, model: Model, bundle: str) -> Prepared | None:
        if self._running is None:
            self._begin(model, bundle)
        if self._running is None or self._running[0] != bundle:
            self._states[bundle] = WAITING
            return None
        try:
            plan = self._running[1].poll()
        except Exception:
            self._release()
            raise
        if plan is None:
            return None
        self._release()
        library, cuda = self._runtime()
        planned = planned_model(model.folder, plan, model.precision, library=library, cuda=cuda)
        limit, _ = batch_limit(planned, max_batch=self._max_batch)
        log.info("%s runs its plan now: %s", bundle, ", ".join(planned.providers))
        return Prepared(planned, limit, is_small=False)

    def _begin(self, model: Model, bundle: str) -> None:
        """Start a build, unless another worker of this machine is at it."""
        self._runtime()  # nothing is built that could not run here
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{bundle}-{model.precision}-{socket.gethostname()}.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._running = (bundle, self._start(model.folder, model.precision), handle)
        except BlockingIOError:
            os.close(handle)
            return
        except BaseException:
            os.close(handle)
            raise
        self._states[bundle] = BUILDING
        log.info("%s: a TensorRT plan is being built, ONNX Runtime answers meanwhile", bundle)

    def _release(self) -> None:
        if self._running is not None:
            os.close(self._running[2])
            self._running = None


def plans_of(settings: Settings) -> Plans | None:
    """The plans of a worker; None where ONNX Runtime is wished."""
    if settings.serving.engine != "tensorrt":
        return None
    options = [
        *("--set", f"home.root={Path(settings.home.root).absolute()}"),
        *("--set", f"export.max_batch={settings.export.max_batch}"),
    ]

    def start(bundle_dir: Path, precision: str) -> Build:
        return PlanBuild(bundle_dir.absolute(), precision, options=options)

    return Plans(settings.home.path("plans"), start, max_batch=settings.serving.max_batch)
