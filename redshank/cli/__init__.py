"""The `redshank` command: one file a verb, stages are imported inside the verb only."""

from __future__ import annotations

import argparse
import errno
import getpass
import importlib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redshank import __version__
from redshank.config import load_settings
from redshank.errors import MissingPartError, RedshankError
from redshank.settings import Settings

VERBS = {
    "data": "scan folders, check and split dataset manifests",
    "train": "train FixMatch + FixCLR on a dataset manifest",
    "bench": "compare methods on unseen domains: methods x targets x seeds, one table",
    "export": "turn a run into a self-proving ONNX bundle",
    "models": "publish, roll back and list releases",
    "serve": "answer predictions over HTTP (BentoML)",
    "predict": "classify image files with a bundle, without a server",
    "watch": "evaluate prediction events: drift, alarms, metrics",
    "retrain": "triggers, healings and the loop that works on them",
    "field": "mirror field images to a bucket, or follow one",
    "label": "bring in labels that arrived later",
    "report": "write an HTML report of runs, drift and healings",
    "doctor": "check this machine, its packages and the checkout",
}
"""Verb -> one line; the module is `redshank.cli.<verb>` with `add_arguments` and `run`."""


NEXT_STEPS = dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    "\n  Give this user the right to it, or choose another place: --out or --set home.root=FOLDER.",
) | dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT),
    "\n  Free some space there, or choose another place: --out or --set home.root=FOLDER.",
)
"""What to do about errors of the system that any verb may meet."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 failed, 2 usage, 3 found something."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name the terminal cannot show
    try:
        shared = argparse.Namespace(config=None, set=[])
        _, rest = _common_parser().parse_known_args(arguments, shared)
        options = build_parser().parse_args(rest, shared)
        settings = load_settings(options.config, overrides=options.set)
        return int(options.run(options, settings))
    except RedshankError as error:
        print(f"redshank: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"redshank: {_missing(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        hint = f"\n  {stop}" if str(stop) else ""
        print(f"redshank: interrupted; nothing half-done was published{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  # the reader has gone
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        text = str(error.strerror or error)
        hint = "" if "\n" in text else NEXT_STEPS.get(error.errno or 0, "")
        print(f"redshank: {place}{text}{hint}", file=sys.stderr)
        return 1


def print_json(value: Any) -> None:
    """Data on stdout, for `--json`."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def user_name() -> str:
    """Who is typing, for the audit trail and for releases."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="redshank",
        description="Train, export, serve and watch image classifiers that must hold in fields "
        "they never saw.",
    )
    parser.add_argument("--version", action="version", version=f"redshank {__version__}")
    common = _common_parser()
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, summary in VERBS.items():
        module = importlib.import_module(f"redshank.cli.{verb}")
        one = verbs.add_parser(verb, help=summary, description=module.__doc__, parents=[common])
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    return parser


def _common_parser() -> argparse.ArgumentParser:
    """Options that may stand anywhere; a verb's copy of them is for its help only."""
    common = argparse.ArgumentParser(
        prog="redshank", add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    common.add_argument("--config", type=Path, metavar="FILE", help="default: redshank.toml")
    common.add_argument(
        "--set",
        action="append",
        metavar="SECTION.KEY=VALUE",
        help="override one setting; may be given again",
    )
    return common


def _missing(error: ModuleNotFoundError) -> MissingPartError:
    name = (error.name or "").partition(".")[0]
    if name in {"training", "export", "serving", "monitoring", "retraining", "demo"}:
        return MissingPartError(
            f"the stage {name!r} is not here",
            hint="Stages run from a checkout or an image: change into the checkout's folder.",
        )
    return MissingPartError(
        f"the Python package {name!r} is not installed",
        hint="Install the extra of this verb: train, export, serve, watch or demo, "
        "and one of cpu or gpu, like pip install 'redshank[serve,cpu]'.",
    )


Options = argparse.Namespace
"""What a verb's `run(options, settings)` gets; `settings` is a `Settings`."""

__all__ = ["VERBS", "Options", "Settings", "build_parser", "main", "print_json", "user_name"]
