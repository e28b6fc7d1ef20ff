"""Evaluate prediction events: windows, drift evidence, alarms, triggers, metrics.

Without a word it runs until SIGTERM. `status` prints where every domain stands (exit status 3 when
one is degraded), `replay` proves that the detectors' state follows from the stored counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import Any

from redshank.cli import Options, Settings, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `redshank watch`."""
    parser.add_argument(
        "what", nargs="?", choices=("run", "status", "replay"), default="run", help="default: run"
    )
    parser.add_argument("--once", action="store_true", help="evaluate what is closed, then end")
    parser.add_argument("--tick", type=float, metavar="S", help="seconds between evaluations")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="metrics and status page; 0: any free"
    )
    parser.add_argument("--json", action="store_true", help="status as JSON on stdout")


def run(options: Options, settings: Settings) -> int:
    """Run the evaluator, or read what it wrote."""
    settings = _with_options(options, settings)
    if options.what == "status":
        return _status(settings, as_json=options.json)
    if options.what == "replay":
        return _replay(settings)
    return _watch(settings, once=options.once)


def _with_options(options: Options, settings: Settings) -> Settings:
    changes: dict[str, Any] = {"tick_s": options.tick, "port": options.metrics_port}
    changes = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(
        settings, monitoring=dataclasses.replace(settings.monitoring, **changes)
    )


def _watch(settings: Settings, *, once: bool) -> int:
    from monitoring.evaluator import Pass
    from monitoring.watch import stop_on_signals, watch

    def report(done: Pass) -> None:
        for problem in done.problems:
            print(f"redshank: {problem}", file=sys.stderr, flush=True)
        if done.events:
            ticks = f"{done.ticks} tick{'s' if done.ticks > 1 else ''}"
            print(
                f"{done.events} events in {ticks}, {1000 * done.seconds:.0f} ms",
                file=sys.stderr,
                flush=True,
            )

    def serving(address: str) -> None:
        print(f"watching; metrics and status page on {address}", file=sys.stderr, flush=True)

    with stop_on_signals() as stop:
        watch(settings, once=once, stop=stop, report=report, serving=serving)
    return 0


def _status(settings: Settings, *, as_json: bool) -> int:
    from monitoring.status import fleet_status

    rows = fleet_status(settings, clock=time.time)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print(f"{row['domain']:<20} {row['state']:<9} {row['sentence']}")
    return 3 if any(row["state"] == "degraded" for row in rows) else 0


def _replay(settings: Settings) -> int:
    from monitoring.replay import differing
    from monitoring.watch import plan_of
    from redshank.store.monitor import open_monitor

    store = open_monitor(settings.home.monitor_database, create=False)
    different = differing(store, settings.home.path("bundles"), plan_of(settings))
    for key in different:
        print(f"{key.model} {key.version} {key.domain}: state differs from its windows")
    print(
        f"{len(store.streams())} streams rebuilt from windows, {len(different)} differ",
        file=sys.stderr,
    )
    return 1 if different else 0
