"""The fleet dashboard: `python -m monitoring.grafana.dashboard [--check]` writes or compares it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from redshank.files import to_json, write_atomic

from .panels import Panel, Query, dashboard_json

PATH = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "redshank-fleet.json"
PICK = 'model=~"$model", domain=~"$domain"'


def fleet_dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's classic JSON."""
    return dashboard_json(
        uid="redshank-fleet",
        title="redshank: fleet",
        description="Where every domain stands. Decisions are the evaluator's, not PromQL's.",
        panels=(*_summary(), *_states(), *_evidence(), *_confidence(), *_traffic(), *_evaluator()),
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the dashboard, or with `--check` tell whether the committed file is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(arguments)
    made = to_json(fleet_dashboard())
    if not options.check:
        write_atomic(PATH, made)
        return 0
    same = PATH.is_file() and PATH.read_bytes() == made
    if not same:
        sys.stderr.write(f"{PATH.name} is stale; run python -m monitoring.grafana.dashboard\n")
    return 0 if same else 1


def _count_of(state: str, title: str, description: str, bad_from: float | None) -> Panel:
    expr = f'sum(redshank_domain_state{{{PICK}, state="{state}"}})'
    return Panel(title, description, "stat", "none", (Query(expr),), 6, 4, bad_from)


def _summary() -> tuple[Panel, ...]:
    return (
        _count_of("degraded", "Degraded", "Domains where predictions got worse.", 1),
        _count_of("drift", "Drift", "Domains where something changed without sign of harm.", None),
        _count_of("silent", "Silent", "Domains that send nothing.", 1),
        Panel(
            "Age of the last pass",
            "Seconds since the evaluator finished a pass; beyond some ticks it is stuck.",
            "stat",
            "s",
            (Query("time() - max(redshank_monitor_last_tick_timestamp_seconds)"),),
            6,
            4,
            1800,
        ),
    )


def _states() -> tuple[Panel, ...]:
    return (
        Panel(
            "State of each domain",
            "The one state each domain is in.",
            "table",
            "none",
            (Query(f"redshank_domain_state{{{PICK}}} == 1", "{{domain}}"),),
        ),
        Panel(
            "Open alarms",
            "Alarms that have not ended, with their cause.",
            "table",
            "none",
            (Query(f"redshank_drift_alarm{{{PICK}}}", "{{domain}} {{kind}} {{cause}}"),),
        ),
    )


def _evidence() -> tuple[Panel, ...]:
    def panel(kind: str, title: str, description: str) -> Panel:
        evidence = f'redshank_drift_evidence_log10{{{PICK}, kind="{kind}"}}'
        threshold = f"max(redshank_drift_threshold_log10{{{PICK}}})"
        queries = (Query(evidence, "{{domain}} {{reference}}"), Query(threshold, "threshold"))
        return Panel(title, description, "timeseries", "none", queries)

    return (
        panel(
            "degraded",
            "Evidence that confidence fell (log10)",
            "Above the threshold a domain is called degraded.",
        ),
        panel("drift", "Evidence of any change (log10)", "Above the threshold a domain drifts."),
    )


def _confidence() -> tuple[Panel, ...]:
    reference = f'redshank_confidence_reference_mean_ratio{{{PICK}, reference="relative"}}'
    return (
        Panel(
            "Mean confidence",
            "Recent scenes against the domain's own burn-in.",
            "timeseries",
            "percentunit",
            (
                Query(f"redshank_confidence_mean_ratio{{{PICK}}}", "{{domain}}"),
                Query(reference, "{{domain}} burn-in"),
            ),
        ),
        Panel(
            "Images unlike training",
            "Share of recent images beyond the 95 % novelty quantile; 5 % is normal.",
            "timeseries",
            "percentunit",
            (Query(f"redshank_novelty_ratio{{{PICK}}}", "{{domain}}"),),
        ),
        Panel(
            "Fall of confidence: look or class mix",
            "For alarmed domains: what worse images cost, and what other classes explain.",
            "timeseries",
            "percentunit",
            (
                Query(f"redshank_drop_from_look_ratio{{{PICK}}}", "{{domain}} look"),
                Query(f"redshank_drop_from_class_mix_ratio{{{PICK}}}", "{{domain}} mix"),
            ),
        ),
        Panel(
            "Confidence histogram",
            "Scene-weighted predictions by calibrated confidence.",
            "heatmap",
            "percentunit",
            (
                Query(
                    "sum by (le) (rate(redshank_prediction_confidence_ratio_bucket"
                    f"{{{PICK}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
        ),
        Panel(
            "Predicted classes",
            "Share of each predicted class, all chosen domains together.",
            "timeseries",
            "percentunit",
            (
                Query(
                    f"sum by (predicted) (rate(redshank_predictions_total{{{PICK}}}"
                    "[$__rate_interval])) / ignoring (predicted) group_left "
                    f"sum(rate(redshank_predictions_total{{{PICK}}}[$__rate_interval]))",
                    "class {{predicted}}",
                ),
            ),
        ),
    )


def _traffic() -> tuple[Panel, ...]:
    def rate(series: str) -> str:
        return f"sum by (domain) (rate({series}{{{PICK}}}[$__rate_interval]))"

    return (
        Panel(
            "Images a second",
            "Classified images of each domain.",
            "timeseries",
            "ops",
            (Query(rate("redshank_domain_images_total"), "{{domain}}"),),
        ),
        Panel(
            "Requests without a class",
            "Errors of each domain a second.",
            "timeseries",
            "ops",
            (Query(rate("redshank_domain_errors_total"), "{{domain}}"),),
        ),
    )


def _evaluator() -> tuple[Panel, ...]:
    return (
        Panel(
            "Evaluator: time of a pass",
            "How long the newest pass took.",
            "timeseries",
            "s",
            (Query("redshank_monitor_tick_duration_seconds", "pass"),),
        ),
        Panel(
            "Evaluator: domains and problems",
            "Domains under watch, and things that wait, like triggers.",
            "timeseries",
            "none",
            (
                Query("redshank_monitor_domains", "domains"),
                Query("redshank_monitor_problems", "problems"),
            ),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
