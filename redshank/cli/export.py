"""Turn a run into a bundle: ONNX graph, parity, golden answers and the monitor's references.

Prints the bundle folder (last line of stdout). Nothing is published when the graph does not answer
as the trained network does. With --plan the folder is a bundle, and a TensorRT plan of it goes into
the plan cache, beside the bundles and never inside one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from redshank.cli import print_json
from redshank.errors import UsageError
from redshank.files import read_json
from redshank.settings import Settings
from redshank.sigterm import sigterm_interrupts

if TYPE_CHECKING:
    from export.plan import ExportPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `redshank export`."""
    parser.add_argument(
        "folder", metavar="RUN", help="run folder or id (with --plan: bundle folder or id)"
    )
    parser.add_argument(
        "--parent-bundle", metavar="ID", help="bundle whose weights the run started from"
    )
    parser.add_argument("--plan", action="store_true", help="build a TensorRT plan of a bundle")
    parser.add_argument(
        "--library",
        choices=("tensorrt", "tensorrt_rtx"),
        help="with --plan: which TensorRT (default: the one that is installed)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8_tensorrt"),
        help="with --plan: which graph of the bundle (default fp32)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object instead")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Export a run, or build a plan of a bundle."""
    _check_together(options)
    if options.plan:
        return _build_plan(options, settings)
    from export.assemble import export_run

    with sigterm_interrupts():
        bundle = export_run(
            _folder(options.folder, settings.home.path("runs")),
            settings.home.path("bundles"),
            _export_plan(options, settings),
            say=_say,
        )
    if options.json:
        print_json({"folder": str(bundle), **read_json(bundle / "bundle.json")})
    else:
        print(bundle)
    return 0


def _check_together(options: argparse.Namespace) -> None:
    """Refuses options that would be ignored."""
    hint = "redshank export BUNDLE --plan"
    if options.library and not options.plan:
        raise UsageError("--library goes with --plan", hint=hint)
    if options.precision and not options.plan:
        raise UsageError(
            "--precision goes with --plan",
            hint=f"{hint}; for a bundle with this precision beside fp32: "
            f"--set export.precision.further={options.precision}",
        )
    if options.parent_bundle and options.plan:
        raise UsageError("--parent-bundle is of a run, --plan of a bundle", hint=hint)


def _export_plan(options: argparse.Namespace, settings: Settings) -> ExportPlan:
    from export.plan import ExportPlan
    from export.precision_gate import Limits
    from export.precisions import PrecisionPlan

    values, precision = settings.export, settings.export.precision
    return ExportPlan(
        model=values.model,
        tolerance=values.tolerance,
        parity_images=values.parity_images,
        reference_images=values.reference_images,
        max_batch=values.max_batch,
        abstain_below=values.abstain_below,
        corrupted_images=values.corrupted_images,
        parent_bundle=options.parent_bundle,
        precision=PrecisionPlan(
            further=precision.further,
            require=precision.require,
            calibration_images=precision.calibration_images,
            reduce_range=precision.reduce_range,
            fp16_tolerance=precision.fp16_tolerance,
            limits=Limits(
                accuracy_drop=precision.accuracy_drop,
                agreement=precision.agreement,
                confidence_shift=precision.confidence_shift,
                cells_moved=precision.cells_moved,
            ),
        ),
    )


def _build_plan(options: argparse.Namespace, settings: Settings) -> int:
    """SIGTERM ends it at once: TensorRT would not hear of an interrupt before it is done."""
    from export.plan import check_plan
    from export.plan_cache import cached_plan, load_library
    from export.tensorrt_plan import BuildSpec

    check_plan(_export_plan(options, settings))
    folder = _folder(options.folder, settings.home.path("bundles"))
    library = load_library(options.library)
    values = settings.export
    plan = cached_plan(
        library,
        folder,
        settings.home.path("plans"),
        BuildSpec(max_batch=values.max_batch, best_batch=min(8, values.max_batch)),
        precision=options.precision or "fp32",
        say=_say,
    )
    if options.json:
        print_json({"folder": str(plan), **read_json(plan / "plan.json")})
    else:
        print(plan)
    return 0


def _folder(text: str, home: Path) -> Path:
    """A folder as given, or the one of that id in its home."""
    return home / text if not Path(text).exists() and (home / text).is_dir() else Path(text)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
