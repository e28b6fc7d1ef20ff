"""`python -m demo`: the whole ring in one command; see ring.py."""

import argparse
import dataclasses
import sys
from pathlib import Path

from redshank.errors import RedshankError

from .console import Console
from .plan import FULL, SMALL
from .ring import turn_the_ring


def main() -> int:
    """Parse the options and turn the ring; 0 also when a gate refused, 1 when a stage failed."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("var/demo"), help="default: var/demo")
    parser.add_argument("--small", action="store_true", help="a minute, with a poor model")
    parser.add_argument("--seed", type=int, default=FULL.seed)
    options = parser.parse_args()
    plan = dataclasses.replace(SMALL if options.small else FULL, seed=options.seed)
    try:
        turn_the_ring(options.out, plan, Console())
    except RedshankError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; background programs are stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":  # processes that build the digits import this file again
    sys.exit(main())
