"""Write one self-contained HTML file about runs, latent space, drift, alarms and healings.

With `--latent RUN ...` the page is about the latent spaces of these runs alone, side by side on the
same images: do domains blur, and do classes stay apart?
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from redshank.cli import Options, Settings, print_json
from redshank.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: report.html, or latent.html, in home.root",
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="JSON object with further figures"
    )
    parser.add_argument(
        "--latent-images",
        type=int,
        default=None,
        metavar="N",
        help="images a domain in the latent space, 0 leaves it out (default: 120); "
        "with --latent: images in all (default: 2000)",
    )
    parser.add_argument(
        "--latent", type=Path, nargs="+", metavar="RUN", help="compare the latent spaces of runs"
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="images of --latent (default: the first run's)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures of --latent")


def run(options: Options, settings: Settings) -> int:
    """Write the report and print its path."""
    if options.latent:
        return _latent(options, settings)
    if options.manifest or options.json:
        raise UsageError("--manifest and --json belong to --latent RUN ...")
    from redshank.report.collect import collect
    from redshank.report.page import write_report

    story = collect(settings.home, model=settings.serving.model, summary_file=options.summary)
    out: Path = options.out or settings.home.path("report.html")
    images = 120 if options.latent_images is None else options.latent_images
    write_report(story, out, latent_images=images, clock=time.time)
    print(out)
    return 0


def _latent(options: Options, settings: Settings) -> int:
    from redshank.records import as_dict
    from redshank.report.latent_page import write_latent_page
    from redshank.report.run_latent import compare_runs
    from redshank.separability import MOST_IMAGES

    most = options.latent_images or MOST_IMAGES
    story = compare_runs(options.latent, most=most, manifest=options.manifest)
    out: Path = options.out or settings.home.path("latent.html")
    write_latent_page(story, out, clock=time.time)
    if options.json:
        print_json({run.name: as_dict(run.separability) for run in story.runs})
    else:
        print(out)
    return 0
