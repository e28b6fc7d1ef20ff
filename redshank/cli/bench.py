"""Compare methods on domains that training never saw: leave one domain out, several seeds.

Every cell (method x target x labels x seed) is one training. A finished cell is a file in `--out`:
the same command goes on after an interruption, and several benches may share a folder. Prints the
table on stdout and writes table.txt, table.md and table.json. Settings come from redshank.toml and
`--set` as for `redshank train`, except that no held-out folds are trained unless a variant asks for
them. Exit status 1 when a training failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from redshank.cli import Options, Settings, print_json

METHODS = "supervised,fixmatch,fixmatch+fixclr"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to compare, and where it goes."""
    parser.add_argument("source", help="manifest, or anything that `redshank data scan` reads")
    parser.add_argument("--layout", metavar="NAME", help="of a folder, as for `redshank data scan`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--methods",
        type=_names,
        default=_names(METHODS),
        metavar="NAMES",
        help=f"comma-separated; built in or from --variants (default: {METHODS})",
    )
    parser.add_argument(
        "--variants", type=Path, metavar="FILE", help="TOML: [variants.NAME] with training settings"
    )
    parser.add_argument(
        "--targets", type=_names, default=(), metavar="DOMAINS", help="default: every one in turn"
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="how many (default: 5)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N")
    parser.add_argument(
        "--labels-per-class",
        type=_labels,
        default=(10,),
        metavar="N,...",
        help="labels kept a class and domain; `all` keeps all (default: 10)",
    )
    parser.add_argument(
        "--against",
        type=_names,
        default=(),
        metavar="NAMES",
        help="compare only with these methods (default: all with all)",
    )
    parser.add_argument("--weights", metavar="FILE", help="pretrained backbone weights for all")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="trainings at once (default: one a CUDA device, else one a core)",
    )
    parser.add_argument("--keep-runs", action="store_true", help="keep run folders in DIR/runs")
    parser.add_argument("--table", action="store_true", help="train nothing, sum up what is there")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Options, settings: Settings) -> int:
    """Train what is missing, print the table."""
    from redshank.records import as_dict

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see redshank/cli/train.py
    from training.bench.protocol import read_images
    from training.bench.run import Question, run_bench
    from training.bench.table_text import as_markdown, as_text
    from training.bench.variants import choose_variants, read_variants

    base = dataclasses.replace(settings.training, held_out="off")
    if options.weights:
        base = dataclasses.replace(base, weights=options.weights)
    own = read_variants(options.variants) if options.variants else {}
    question = Question(
        variants=choose_variants(options.methods, own, base),
        targets=options.targets,
        labels_per_class=options.labels_per_class,
        seeds=tuple(range(options.first_seed, options.first_seed + options.seeds)),
        against=options.against,
    )
    table, failures = run_bench(
        read_images(options.source, options.layout),
        options.out,
        question,
        jobs=options.jobs,
        keep_runs=options.keep_runs,
        only_table=options.table,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if options.json:
        print_json(as_dict(table))
    else:
        print(as_markdown(table) if options.markdown else as_text(table))
    return 1 if failures else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _labels(text: str) -> tuple[int | None, ...]:
    found: list[int | None] = []
    for part in _names(text):
        if part != "all" and (not part.isdecimal() or int(part) < 1):
            raise argparse.ArgumentTypeError(f"{part!r} is neither `all` nor a number from 1")
        found.append(None if part == "all" else int(part))
    return tuple(dict.fromkeys(found))
