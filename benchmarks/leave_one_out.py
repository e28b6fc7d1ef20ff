"""`redshank bench` on the packaged digits.

    python -m benchmarks.leave_one_out --out var/bench/digits                     # make bench
    python -m benchmarks.leave_one_out --out var/bench/digits --table --markdown  # what is there

Builds the digits once (four domains, 200 images a class each), then hands every other option to
`redshank bench`; `--variants` is benchmarks/digits.toml unless another file is given.
`--import-cells FOLDER` first takes over the cells of an earlier form of this table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.old_cells import VARIANTS, import_cells
from redshank.cli import main as redshank

DOMAINS = ("mnist", "mnist_m", "street", "syn")
IMAGES_PER_CLASS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the digits, import what is asked for, bench."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of cells, tables, digits")
    parser.add_argument("--variants", type=Path, default=VARIANTS)
    parser.add_argument("--import-cells", type=Path, metavar="FOLDER")
    options, rest = parser.parse_known_args(arguments)
    digits = options.out / "digits"
    build_digits_once(digits)
    if options.import_cells:
        imported = import_cells(options.import_cells, options.out, digits)
        print(f"{imported} cells imported", file=sys.stderr)
    fixed = ["--out", str(options.out), "--variants", str(options.variants)]
    # one thread a training: equal figures on machines with other numbers of cores
    fixed += ["--set", "training.device=cpu", "--set", "training.threads=1"]
    return redshank(["bench", str(digits), *fixed, *rest])


def build_digits_once(root: Path) -> None:
    """The four benchmark domains, `IMAGES_PER_CLASS` each."""
    from demo.digits import SplitCounts, build_digits

    if not (root / "complete").is_file():
        counts = {domain: SplitCounts(IMAGES_PER_CLASS, 0, 0) for domain in DOMAINS}
        build_digits(root, seed=0, counts=counts, workers=1)
        (root / "complete").touch()


if __name__ == "__main__":
    raise SystemExit(main())
