"""`redshank watch`: evaluate, publish, sleep until the next tick has closed, again."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from redshank.errors import ConflictError, InputError
from redshank.events import expire
from redshank.files import Clock
from redshank.registry import Registry
from redshank.settings import Settings
from redshank.store.control import open_control
from redshank.store.monitor import open_monitor

from .board import Board
from .evaluator import Evaluator, Pass
from .feasible import check_settings
from .older_state import bring_up_to_date
from .operators import requests_of
from .releases import Releases
from .stream import Plan
from .surroundings import Surroundings


def watch(
    settings: Settings,
    *,
    once: bool,
    stop: threading.Event,
    clock: Clock = time.time,
    report: Callable[[Pass], None] = lambda _: None,
    serving: Callable[[str], None] = lambda _: None,
) -> Pass:
    """Run the evaluator until `stop` is set, or for one pass.

    A tick that has begun is always finished: stopping never tears one. A pass that fails because a
    database is locked or the disk is full is reported and tried again a tick later; until it
    succeeds the time of the last pass in the metrics stands still.

    Args:
        settings: home, monitoring, and serving's flush and retention times.
        once: evaluate what is closed and return.
        stop: set by a signal handler or a test.
        clock: seconds since the epoch.
        report: called after every pass.
        serving: called with the address of metrics and console.

    Raises:
        ConfigError: a setting that cannot work; nothing was written.
        ConflictError: another evaluator is running.
    """
    plan = plan_of(settings)
    store = open_monitor(settings.home.monitor_database)
    with ExitStack() as stack:
        stack.enter_context(store.only_writer())
        around = surroundings_of(settings)
        bring_up_to_date(store, around.bundles, plan)
        evaluator = Evaluator(store, plan, around, clock=clock)
        board = Board(settings.monitoring, clock)
        if not once:
            from .console.sources import sources_of
            from .endpoint import serve_console

            host, port = settings.monitoring.host, settings.monitoring.port
            sources = sources_of(settings, board, store)
            serving(stack.enter_context(serve_console(sources, host, port)))
        while True:
            try:
                done, is_new = evaluator.pass_once(stop.is_set), True
            except (ConflictError, InputError) as error:  # a lock or a full disk goes away
                if once:
                    raise
                done, is_new = Pass(0, 0, 0.0, (f"{error.message}; next try in a tick",)), False
            if not once:
                left = _expire(evaluator.around.spool, before_s=clock() - _retention_s(settings))
                done = replace(done, problems=done.problems + left)
            if is_new:
                board.publish(evaluator, done)
            report(done)
            if once or stop.is_set():
                return done
            if stop.wait(_until_next_tick_s(evaluator, clock)):
                return done


def plan_of(settings: Settings) -> Plan:
    """The promise and margins in the settings.

    Raises:
        ConfigError: one of them cannot work.
    """
    monitoring = settings.monitoring
    check_settings(monitoring)
    return Plan(
        tick_s=monitoring.tick_s,
        period_ticks=monitoring.period_ticks,
        false_alarms=monitoring.false_alarms,
        promise=monitoring.promise,
        margin=monitoring.margin,
        absolute_margin=monitoring.absolute_margin,
        burn_in_scenes=monitoring.burn_in_scenes,
        scene_gap_s=monitoring.scene_gap_s,
        scene_distance=monitoring.scene_distance,
        max_domains=monitoring.max_domains,
        keep_ticks=math.ceil(monitoring.window_days * 86_400 / monitoring.tick_s),
        precision=settings.serving.precision,
    )


def surroundings_of(settings: Settings) -> Surroundings:
    """Where events and bundles lie, which versions answer, and where triggers go."""
    home = settings.home
    releases = Releases(Registry(home.path("models"), home.path("bundles")))
    control = open_control(home.control_database)
    return Surroundings(
        spool=home.path("spool"),
        bundles=home.path("bundles"),
        answering=releases.answering,
        send=control.add_trigger if settings.monitoring.trigger else None,
        withdraw=control.withdraw if settings.monitoring.trigger else None,
        named=releases.named,
        unread_releases=releases.problems,
        requests=requests_of(control),
        labels=control.labels_given,
        grace_s=2 * settings.serving.flush_s,
    )


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, for a clean end after the tick."""
    stop = threading.Event()
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in wanted]
    try:
        yield stop
    finally:
        for number, handler in zip(wanted, before, strict=True):
            signal.signal(number, handler)


def _expire(spool: Path, *, before_s: float) -> tuple[str, ...]:
    """Delete old spool files; why one cannot be deleted, which must not end the evaluator."""
    try:
        expire(spool, before_s=before_s)
    except OSError as error:
        return (f"old spool files are kept, {error.filename}: {error.strerror}",)
    return ()


def _until_next_tick_s(evaluator: Evaluator, clock: Clock) -> float:
    tick_s, grace_s = evaluator.plan.tick_s, evaluator.around.grace_s
    now = clock() - grace_s
    return max((math.floor(now / tick_s) + 1) * tick_s - now, 0.01)


def _retention_s(settings: Settings) -> float:
    return settings.serving.retention_days * 86_400
