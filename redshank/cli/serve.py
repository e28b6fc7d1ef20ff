"""Answer predictions over HTTP with the live bundle, until stopped.

The model, address and limits come from `[serving]` of the settings, for example
`redshank serve --set serving.port=3001 --set serving.workers=4`. A new release is taken over while
the server runs; SIGTERM drains it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from redshank.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`redshank serve` takes settings only."""
    parser.add_argument(
        "--check", action="store_true", help="check settings, port, release and folders, then exit"
    )
    parser.add_argument(
        "--bento",
        type=Path,
        metavar="DIR",
        help="start nothing: pack the live bundle and the service as a Bento into DIR",
    )


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Check, then become the BentoML supervisor."""
    from serving import launch

    if options.bento is not None:
        from serving.bento import build_bento

        print(build_bento(settings, options.bento))
        return 0
    serving = settings.serving
    what = f"{serving.model!r} on {launch.url(serving)} with {serving.workers} worker(s)"
    if options.check:
        launch.check(settings)
        launch.check_places(settings)
        print(f"redshank: ready to serve {what}", file=sys.stderr)
        return 0
    prepared = launch.prepare(settings, os.environ)
    if prepared.lost_events:
        print(
            f"redshank: the server here before was killed, {prepared.lost_events} events that were "
            "in its memory are lost",
            file=sys.stderr,
        )
    print(f"redshank: serving {what}", file=sys.stderr)
    return launch.execute(prepared)
