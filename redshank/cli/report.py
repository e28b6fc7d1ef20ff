"""Write one self-contained HTML file about runs, latent space, drift, alarms and healings."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from redshank.cli import Options, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: report.html in home.root"
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="JSON object with further figures"
    )
    parser.add_argument(
        "--latent-images",
        type=int,
        default=120,
        metavar="N",
        help="images a domain in the latent space; 0 leaves it out (default: 120)",
    )


def run(options: Options, settings: Settings) -> int:
    """Write the report and print its path."""
    from redshank.report.collect import collect
    from redshank.report.page import write_report

    story = collect(settings.home, model=settings.serving.model, summary_file=options.summary)
    out: Path = options.out or settings.home.path("report.html")
    write_report(story, out, latent_images=options.latent_images, clock=time.time)
    print(out)
    return 0
