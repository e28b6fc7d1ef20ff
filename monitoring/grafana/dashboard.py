"""The dashboards: `python -m monitoring.grafana.dashboard [--check]` writes or compares them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from redshank.files import to_json, write_atomic

from .domain import domain_dashboard
from .fleet import fleet_dashboard
from .panels import Dashboard
from .retraining import retraining_dashboard
from .serving import serving_dashboard

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"


def all_dashboards() -> tuple[Dashboard, ...]:
    """Every dashboard that is provisioned."""
    return fleet_dashboard(), domain_dashboard(), serving_dashboard(), retraining_dashboard()


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with `--check` tell whether the committed ones are the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(arguments)
    stale = False
    for dashboard in all_dashboards():
        path, made = FOLDER / f"{dashboard.uid}.json", to_json(dashboard.as_json())
        if not options.check:
            write_atomic(path, made)
            path.chmod(0o644)  # Grafana reads them as another user
        elif not path.is_file() or path.read_bytes() != made:
            sys.stderr.write(f"{path.name} is stale; run python -m monitoring.grafana.dashboard\n")
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
