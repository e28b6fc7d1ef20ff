"""The release in memory: every worker polls the pointer, loads beside, and swaps one reference.

A request takes one `Snapshot` and keeps it, so its answer always names the model that gave it. A
bundle that fails its digests, its golden self-test or its warm-up is not taken: the former release
goes on answering, the log and `redshank_release_failures_total` say why, and the pointer is tried
again when it changes, or after `RETRY_S`. A worker that starts meanwhile, in place of one that
died, takes the newest former release that holds: what the others still answer with.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from redshank.errors import RedshankError
from redshank.events import Role
from redshank.infer import Model
from redshank.registry import Registry, Release

from .identity import unit_interval
from .metrics import Metrics
from .plans import Plans
from .prepare import Prepared, prepare_model

RETRY_S = 30.0
log = logging.getLogger("redshank.serving")


@dataclass(frozen=True)
class Served:
    """A loaded bundle in its role."""

    model: Model
    role: Role
    version: str
    max_batch: int = 1
    """Most images in one run, as measured at load."""
    is_small: bool = False
    """Whether a run is so short that the event loop may do it."""


@dataclass(frozen=True)
class Snapshot:
    """What answers at one moment."""

    release: Release
    live: Served
    canary: Served | None
    shadow: Served | None

    def choose(self, domain: str, client: str) -> Served:
        """The canary for its domains and its sticky share of clients, else live."""
        rule = self.release.canary
        if self.canary is None or rule is None:
            return self.live
        if rule.domains and domain not in rule.domains:
            return self.live
        return self.canary if unit_interval(f"{rule.bundle}/{client}") < rule.share else self.live

    @property
    def answerers(self) -> tuple[Served, ...]:
        """The bundles that answer somebody: live, and the canary."""
        return tuple(s for s in (self.live, self.canary) if s is not None)

    def answering(self, version: str) -> Served | None:
        """The live bundle or the canary of this version, if it is one of them."""
        return next((s for s in self.answerers if s.version == version), None)

    def only(self, version: str) -> Snapshot:
        """A snapshot in which this version answers everybody; unchanged when it answers nobody."""
        served = self.answering(version)
        return self if served is None else replace(self, live=served, canary=None)

    def on(self, version: str, prepared: Prepared) -> Snapshot:
        """A snapshot in which a version runs on another engine, in all its roles."""

        def moved(served: Served) -> Served:
            if served.version != version:
                return served
            return Served(prepared.model, served.role, version, prepared.max_batch)

        canary, shadow = (s and moved(s) for s in (self.canary, self.shadow))
        return Snapshot(self.release, moved(self.live), canary, shadow)

    @property
    def is_small(self) -> bool:
        """Whether the event loop may run whatever answers."""
        return self.live.is_small and (self.canary is None or self.canary.is_small)

    @property
    def served(self) -> tuple[Served, ...]:
        """All loaded bundles."""
        return tuple(s for s in (self.live, self.canary, self.shadow) if s is not None)


class ReleaseWatcher:
    """Keeps `snapshot` equal to the release pointer, from a thread of its own."""

    def __init__(
        self,
        registry: Registry,
        model: str,
        metrics: Metrics,
        *,
        poll_s: float,
        max_batch: int,
        precision: str = "fp32",
        on_tick: Callable[[], None] = lambda: None,
        plans: Plans | None = None,
    ) -> None:
        self._registry, self._model, self._metrics = registry, model, metrics
        self._poll_s, self._max_batch, self._on_tick = poll_s, max_batch, on_tick
        self._precision = precision
        self.plans = plans
        self._seen: tuple[int, int] | None = None
        self._retry_at = 0.0
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="release-watcher", daemon=True)
        self.snapshot: Snapshot | None = None
        metrics.revision.labels(model).set(0)
        self.problem = ""
        """Why the pointer's newest release is not served in full; empty when it is."""

    def start(self) -> None:
        """Load the release once, then watch it."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.plans is not None:
            self.plans.stop()

    def wake(self) -> None:
        """Look at the pointer now, in the watcher's thread, whatever its age."""
        self._seen = None
        self._wake.set()

    def look(self) -> None:
        """Compare the pointer with what is loaded; load and swap when it changed."""
        try:
            status = self._registry.release_path(self._model).stat()
            mark = (status.st_mtime_ns, status.st_ino)
        except OSError:  # reading it says why
            mark = (0, 0)
        if mark == self._seen and (not self.problem or time.monotonic() < self._retry_at):
            return
        self._seen, self._retry_at = mark, time.monotonic() + RETRY_S
        try:
            self._take(self._registry.read(self._model))
        except Exception as error:  # a release must never end the server
            self._report("live", error)
            if self.snapshot is None and mark != (0, 0):  # no pointer: nothing is released
                self._stand_in()

    def take_plans(self) -> None:
        """Swap models whose TensorRT plan is ready, and have the next one built."""
        if self.plans is None or self.snapshot is None:
            return
        self.plans.keep({served.version for served in self.snapshot.served})
        for served in self.snapshot.served:
            prepared = self.plans.planned(served.model)
            if prepared is not None:
                self.snapshot = self.snapshot.on(served.version, prepared)

    def _take(self, release: Release) -> None:
        loaded = {s.version: s for s in self.snapshot.served} if self.snapshot else {}
        problems: list[str] = []
        live = self._served(release.live, "live", loaded)

        def extra(bundle: str | None, role: Role) -> Served | None:
            try:
                return self._served(bundle, role, loaded) if bundle else None
            except Exception as error:  # a bad shadow or canary must not hold up the live bundle
                problems.append(self._report(role, error))
                return None

        canary = extra(release.canary.bundle if release.canary else None, "canary")
        shadow = extra(release.shadow, "shadow")
        former = self.snapshot.release if self.snapshot else None
        self.snapshot = Snapshot(release, live, canary, shadow)
        self.problem = "; ".join(problems)
        if release != former:  # else a retry of a canary or shadow that failed
            self._metrics.swaps.inc()
            self._metrics.revision.labels(release.model).set(release.revision)
            log.info("serving %s revision %d: %s", release.model, release.revision, release.live)

    def _stand_in(self) -> None:
        """Take a former release; the problem of the newest one stays said."""
        problem, tried = self.problem, set[str]()
        try:
            former = self._registry.history(self._model)
        except (RedshankError, OSError, ValueError):  # a damaged history helps nobody
            return
        for release in reversed(former):
            if release.live in tried:
                continue
            tried.add(release.live)
            with suppress(Exception):  # whatever it is, the next may hold
                self._take(release)
                break
        self.problem = problem

    def _served(self, bundle: str, role: Role, loaded: dict[str, Served]) -> Served:
        """The loaded bundle in its role, or a new one after self-test and warm-up."""
        if bundle in loaded:
            return replace(loaded[bundle], role=role)
        prepared = prepare_model(
            self._registry.bundle_path(bundle),
            name=self._model,
            max_batch=self._max_batch,
            precision=self._precision,
        )
        gc.collect()
        gc.freeze()  # the old bundle goes by reference counting; later collections skip the new one
        return Served(prepared.model, role, bundle, prepared.max_batch, prepared.is_small)

    def _report(self, role: Role, error: Exception) -> str:
        self.problem = f"{role}: {error}"
        self._metrics.release_failures.labels(role).inc()
        log.error("release of %s not taken over, %s", self._model, self.problem)
        return self.problem

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._poll_s)
            self._wake.clear()
            if not self._stop.is_set():
                self._keep_house()
                self.look()
                self.take_plans()

    def _keep_house(self) -> None:
        try:
            self._on_tick()
        except Exception:  # releases must be taken over whatever the disk does
            log.exception("housekeeping failed")
