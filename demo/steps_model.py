"""Steps 1 to 3: data, training, export: verbs of the `redshank` command, as a user types them."""

import json
import sys
from pathlib import Path

from redshank.run import Run, read_run

from .console import percent
from .digit_manifest import write_digit_manifest
from .digits import build_digits
from .plan import MODEL
from .processes import Finished
from .turn import Turn


def build_data(turn: Turn) -> None:
    """Build the digits and let `redshank data check` look at every image."""
    root = turn.workspace.manifest.parent
    files = build_digits(root, seed=turn.plan.seed, counts=turn.plan.counts)
    write_digit_manifest(root, files, seed=turn.plan.seed)
    turn.console.say(f"{len(files)} images in {root}")
    turn.console.say(turn.verb("data", "check", str(turn.workspace.manifest)).stdout)


def train_model(turn: Turn) -> Run:
    """Train; returns the run. The verb shows its progress bars on a terminal only."""
    quiet = () if sys.stderr.isatty() else ("--quiet",)
    folder = last_line(turn.verb("train", *quiet, str(turn.workspace.manifest)))
    run = read_run(Path(folder))
    turn.summary.accuracy_by_domain = accuracy_by_domain(run)
    for domain, accuracy in turn.summary.accuracy_by_domain.items():
        role = "unseen" if domain not in run.source_domains else "source"
        turn.console.say(f"{domain:<9} {role:<7} accuracy {percent(accuracy)}")
    return run


def export_model(turn: Turn, run: Run) -> str:
    """Export, check and publish; returns the bundle's id."""
    finished = turn.verb("export", run.run_id)
    bundle_id = Path(last_line(finished)).name
    turn.verb("models", "publish", bundle_id, "--actor", "demo", "--reason", "first model")
    shown = json.loads(turn.verb("models", "show", MODEL, "--json").stdout)
    parity = shown["bundle"]["parity"]
    turn.console.say(
        f"bundle {bundle_id}: on {parity['images']} images ONNX Runtime and torch differ by at "
        f"most {parity['logits']:.1e}; golden answers checked; live as {MODEL}"
    )
    return bundle_id


def last_line(finished: Finished) -> str:
    """Verbs print what they made on the last line of stdout."""
    return finished.stdout.strip().splitlines()[-1]


def accuracy_by_domain(run: Run) -> dict[str, float]:
    """Accuracy of each domain on its test images (validation images where it has none)."""
    found: dict[str, float] = {}
    for metric in run.metrics:
        if metric.accuracy is not None and (metric.split == "test" or metric.domain not in found):
            found[metric.domain] = round(metric.accuracy, 4)
    return found
