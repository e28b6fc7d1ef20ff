"""Answer predictions over HTTP with the live bundle, until stopped.

The model, address and limits come from `[serving]` of the settings, for example
`redshank serve --set serving.port=3001 --set serving.workers=4`. A new release is taken over while
the server runs; SIGTERM drains it.
"""

from __future__ import annotations

import argparse
import os
import sys

from redshank.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`redshank serve` takes settings only."""
    parser.add_argument(
        "--check", action="store_true", help="check settings, port and release, then exit"
    )


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Check, then become the BentoML supervisor."""
    from serving import launch

    prepared = launch.prepare(settings, os.environ)
    serving = settings.serving
    print(
        f"redshank: serving {serving.model!r} on http://{serving.host}:{serving.port} "
        f"with {serving.workers} worker(s)",
        file=sys.stderr,
    )
    return 0 if options.check else launch.execute(prepared)
