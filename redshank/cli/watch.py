"""Evaluate prediction events: windows, drift evidence, alarms, triggers, metrics.

Without a word it runs until SIGTERM. `status` prints where every domain stands (exit status 3 when
one is degraded), `history` the ticks of one domain, `accept` says that a change is the new normal,
`retire` that a domain is no more, `replay` proves that the detectors' state follows from the stored
counts, `export` writes raw events to a Parquet file.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import sys
import time
from pathlib import Path
from typing import Any

from redshank.cli import Options, Settings, print_json
from redshank.errors import InputError, UsageError
from redshank.files import parse_rfc3339, rfc3339


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `redshank watch`."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("run", "status", "history", "accept", "retire", "replay", "export"),
        default="run",
        help="default: run",
    )
    parser.add_argument("--once", action="store_true", help="evaluate what is closed, then end")
    parser.add_argument("--tick", type=float, metavar="S", help="seconds between evaluations")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="metrics and console; 0: any free"
    )
    parser.add_argument("--json", action="store_true", help="status or history as JSON on stdout")
    parser.add_argument("--daily", action="store_true", help="history by day, kept for ever")
    parser.add_argument("--domain", metavar="D", help="of history, accept, retire, export")
    parser.add_argument("--out", type=Path, metavar="FILE", help="of export: the Parquet file")
    parser.add_argument("--since", metavar="T", help="of export: UTC, 2026-11-22[T08:00:00Z]")
    parser.add_argument("--until", metavar="T", help="likewise (default: all that is written)")
    parser.add_argument("--model", metavar="M", help="of the domain (default: serving.model)")
    parser.add_argument(
        "--reason", default="", metavar="R", help="of accept and retire, for the audit trail"
    )
    parser.add_argument("--actor", metavar="A", help="who decides (default: you)")


def run(options: Options, settings: Settings) -> int:
    """Run the evaluator, or read what it wrote."""
    settings = _with_options(options, settings)
    match options.what:
        case "status":
            return _status(settings, as_json=options.json)
        case "history":
            return _history(settings, _domain(options), options)
        case "accept":
            return _accept(settings, _domain(options), options)
        case "retire":
            return _retire(settings, _domain(options), options)
        case "replay":
            return _replay(settings)
        case "export":
            return _export(settings, options)
    return _watch(settings, once=options.once)


def _domain(options: Options) -> str:
    if not options.domain:
        raise UsageError(
            f"`redshank watch {options.what}` needs a domain",
            hint="Give --domain NAME; `redshank watch status` lists them.",
        )
    return str(options.domain)


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
        spool = settings.home.path("spool")
        waits = "" if spool.is_dir() else f"; no server has written to {spool} yet"
        line = f"watching; metrics and console on {address}{waits}"
        print(line, file=sys.stderr, flush=True)

    with stop_on_signals() as stop:
        watch(settings, once=once, stop=stop, report=report, serving=serving)
    return 0


def _status(settings: Settings, *, as_json: bool) -> int:
    from monitoring.status import fleet_status

    rows = fleet_status(settings, clock=time.time)
    if as_json:
        print_json(rows)
    else:
        if not rows:
            tick = f"a tick of {settings.monitoring.tick_s:g} s is counted when it is over"
            print(f"no domain has been counted yet; {tick}", file=sys.stderr)
        for row in rows:
            print(f"{row['domain']:<20} {row['state']:<9} {row['sentence']}")
    return 3 if any(row["state"] == "degraded" for row in rows) else 0


def _history(settings: Settings, domain: str, options: Options) -> int:
    from monitoring.status import domain_days, domain_history

    model = options.model or settings.serving.model
    if options.daily:
        return _days(domain_days(settings, domain=domain, model=model), as_json=options.json)
    rows = domain_history(settings, domain=domain, model=model)
    if options.json:
        print_json(rows)
        return 0
    print(f"{'end of tick':<24} {'images':>6} {'confidence':>10} evidence")
    for row in rows:
        confidence = "" if row["mean_confidence"] is None else f"{row['mean_confidence']:.1%}"
        evidence = ", ".join(
            f"{name} 10^{numbers['total_log10']:.1f} of 10^{numbers['threshold_log10']:.1f}"
            for name, numbers in row["evidence"].items()
        )
        print(f"{row['at']:<24} {row['images']:>6} {confidence:>10} {row['state']} {evidence}")
    return 0


def _days(rows: list[dict[str, Any]], *, as_json: bool) -> int:
    if as_json:
        print_json(rows)
        return 0
    print(f"{'day':<11} {'images':>8} {'errors':>7} {'confidence':>10} state")
    for row in rows:
        confidence = "" if row["mean_confidence"] is None else f"{row['mean_confidence']:.1%}"
        numbers = f"{row['images']:>8} {row['errors']:>7} {confidence:>10}"
        print(f"{row['day']:<11} {numbers} {row['state']}")
    return 0


def _accept(settings: Settings, domain: str, options: Options) -> int:
    from monitoring.operators import request_acceptance

    key = request_acceptance(settings, domain=domain, **_decision(settings, options))
    print(
        f"noted: version {key.version} of {key.model} learns {key.domain} anew; "
        f"the evaluator does so within a tick ({settings.monitoring.tick_s:g} s)",
        file=sys.stderr,
    )
    return 0


def _retire(settings: Settings, domain: str, options: Options) -> int:
    from monitoring.operators import request_retirement

    last_event_s = request_retirement(settings, domain=domain, **_decision(settings, options))
    print(
        f"noted: {domain} is forgotten by the evaluator within a tick "
        f"({settings.monitoring.tick_s:g} s); its last image came at {rfc3339(last_event_s)}, "
        "with the next one it would be a new domain",
        file=sys.stderr,
    )
    return 0


def _decision(settings: Settings, options: Options) -> dict[str, str]:
    """The model that is meant, who decides, and why."""
    return {
        "model": options.model or settings.serving.model,
        "actor": options.actor or getpass.getuser(),
        "reason": options.reason or "no reason given",
    }


def _replay(settings: Settings) -> int:
    from monitoring.older_state import is_older
    from monitoring.replay import differing
    from monitoring.watch import plan_of
    from redshank.store.monitor import open_monitor

    store = open_monitor(settings.home.monitor_database, create=False)
    if is_older(store):
        raise InputError(
            "the detectors' state was written by an older redshank, there is nothing to compare",
            hint="`redshank watch --once` rebuilds it from the counts.",
        )
    different = differing(store, settings.home.path("bundles"), plan_of(settings))
    for key in different:
        print(f"{key.model} {key.version} {key.domain}: state differs from its windows")
    print(
        f"{len(store.streams())} streams rebuilt from windows, {len(different)} differ",
        file=sys.stderr,
    )
    return 1 if different else 0


def _export(settings: Settings, options: Options) -> int:
    from monitoring.event_table import export_events

    if options.out is None:
        raise UsageError(
            "`redshank watch export` needs a file to write", hint="Give --out EVENTS.parquet."
        )
    written = time.time() - 2 * settings.serving.flush_s  # later events may still be in memory
    count = export_events(
        settings.home.path("spool"),
        options.out,
        since_s=_moment(options.since, 0.0),
        until_s=_moment(options.until, written),
        domain=options.domain,
    )
    print(f"{count} events", file=sys.stderr)
    print(options.out)
    return 0


def _moment(text: str | None, default: float) -> float:
    """Seconds since the epoch of a day or an RFC 3339 time."""
    if text is None:
        return default
    return parse_rfc3339(f"{text}T00:00:00Z" if len(text) == len("2026-11-22") else text)
