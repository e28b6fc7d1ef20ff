"""Train FixMatch + FixCLR on a dataset manifest and publish a run folder.

Prints the run's folder on stdout. Interrupted at any time it publishes nothing; the same command
with `--resume` goes on and ends with the same weights.
Several GPUs or hosts: `torchrun --nproc-per-node N -m redshank train MANIFEST --resume`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from redshank.cli import Options, Settings, print_json
from redshank.dataset import Manifest, read_manifest, representative_items
from redshank.errors import InputError
from redshank.run import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the manifest and where the run goes."""
    parser.add_argument("manifest", type=Path, help="written by `redshank data scan`")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of runs")
    parser.add_argument("--parent", type=Path, metavar="RUN", help="start from this run's weights")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted training")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no table")
    parser.add_argument("--json", action="store_true", help="print run.json instead of the folder")


def run(options: Options, settings: Settings) -> int:
    """Train one run."""
    from redshank.records import as_dict
    from redshank.run import read_run

    # OpenMP threads that spin while they wait starve each other on a shared machine (1.4 s a step
    # instead of 0.06 at load 5 on two cores); read when torch loads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from training.feasible import check_settings
    from training.train import train

    # under torchrun the first process talks for all
    talks = os.environ.get("RANK", "0") == "0"
    quiet = options.quiet or not talks
    if not quiet:
        check_settings(settings.training)  # an error alone, without a warning before it
        warn_of_few_images(read_manifest(options.manifest))
    folder = options.out or settings.home.path("runs")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder", hint="Give another with --out.")
    with nullcontext() if quiet else log_above_bars(), _progress(quiet=quiet) as progress:
        folder = train(
            options.manifest,
            settings.training,
            folder,
            resume=options.resume,
            parent=options.parent,
            progress=progress,
        )
    if not talks:
        return 0
    result = read_run(folder, verify=False)
    if not quiet:
        print(format_metrics(result), file=sys.stderr)
    if options.json:
        print_json({"folder": str(folder), **as_dict(result)})
    else:
        print(folder)
    return 0


def warn_of_few_images(manifest: Manifest) -> None:
    """Says before the training, not after it, that export will refuse the run."""
    from redshank.reference import MIN_IMAGES

    items = representative_items(manifest)
    count = sum(len(items[domain]) for domain in manifest.source_domains)
    if manifest.source_domains and count < MIN_IMAGES:
        print(
            f"redshank: {count} validation or unlabelled images of source domains; export needs "
            f"{MIN_IMAGES} for its references and will refuse this run\n"
            "  Scan again with --val-share, or add unlabelled images.",
            file=sys.stderr,
        )


@contextmanager
def log_above_bars() -> Iterator[None]:
    """Inside, what training logs is printed on stderr without tearing the bars."""
    from tqdm import tqdm

    class AboveBars(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stderr)

    logger, handler = logging.getLogger("training"), AboveBars()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Bars, closed before an error is printed; Ctrl-C then says how to go on."""
    with nullcontext(_nothing) if quiet else progress_bars() as progress:
        try:
            yield progress
        except KeyboardInterrupt:
            raise KeyboardInterrupt("The same command with --resume goes on.") from None


def _nothing(_phase: str, _done: int, _total: int) -> None:
    """No bar."""


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """One bar a phase on stderr."""
    from tqdm import tqdm

    bars: dict[str, tqdm] = {}

    def show(phase: str, done: int, total: int) -> None:
        if phase not in bars:
            for bar in bars.values():
                bar.close()
            bars[phase] = tqdm(total=total, initial=0, desc=phase, file=sys.stderr, mininterval=0.5)
        bar = bars[phase]
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()


def format_metrics(result: Run) -> str:
    """A table of the run's figures, a domain and split a line."""
    lines = [
        f"{'domain':<16}{'role':<8}{'split':<7}{'n':>6}{'accuracy':>10}{'ECE':>8}{'pseudo-labels':>20}"
    ]
    for row in result.metrics:
        pseudo = ""
        if row.pseudo_label_coverage is not None:
            right = _percent(row.pseudo_label_precision)
            pseudo = f"{right} of {_percent(row.pseudo_label_coverage)}"
        lines.append(
            f"{row.domain:<16}{row.role:<8}{row.split:<7}{row.n:>6}"
            f"{_percent(row.accuracy):>10}{_percent(row.ece):>8}{pseudo:>20}"
        )
    fitted = result.temperature
    lines.append(
        f"temperature {fitted.value:.3f} fitted on {fitted.fitted_on} (n {fitted.n}), "
        f"{result.steps} steps, {result.seconds:.0f} s on {result.device}"
    )
    return "\n".join(lines)


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f} %"
