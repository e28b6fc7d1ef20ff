"""Fleet overview: where every domain stands."""

from __future__ import annotations

from redshank.store.monitor_rows import State

from .panels import Dashboard, Panel, Query, Variable
from .states import VALUES, state_number

PICK = 'model=~"$model", domain=~"$domain"'


def fleet_dashboard() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid="redshank-fleet",
        title="redshank: fleet",
        description="Where every domain stands. Decisions are the evaluator's, not PromQL's.",
        variables=(
            Variable("model", "Model", "redshank_domain_state"),
            Variable("domain", "Domain", 'redshank_domain_state{model=~"$model"}'),
        ),
        panels=(*_summary(), *_states(), *_evidence(), *_confidence(), *_traffic(), *_evaluator()),
    )


def _count_of(state: State, title: str, description: str, bad_from: float | None) -> Panel:
    expr = f'sum(redshank_domains{{model=~"$model", state="{state}"}})'
    return Panel(title, description, "stat", "none", (Query(expr),), 4, 4, bad_from)


def _summary() -> tuple[Panel, ...]:
    passed = "time() - max(redshank_monitor_last_tick_timestamp_seconds)"
    return (
        _count_of("degraded", "Degraded", "Domains where predictions got worse.", 1),
        _count_of("unknown", "Unknown", "Domains whose images are unlike anything in training.", 1),
        _count_of("drift", "Drift", "Domains where something changed without sign of harm.", None),
        _count_of("silent", "Silent", "Domains that send nothing.", 1),
        _count_of("healthy", "Healthy", "Domains of which nothing speaks for a change.", None),
        Panel(
            "Age of the last pass",
            "Seconds since the evaluator finished a pass; beyond some ticks it is stuck.",
            "stat",
            "s",
            (Query(passed),),
            4,
            4,
            1800,
            runbook="the-evaluator-stopped",
        ),
    )


def _states() -> tuple[Panel, ...]:
    return (
        Panel(
            "State of each domain",
            "The one state each domain is in, over time.",
            "state-timeline",
            "none",
            (Query(state_number(PICK), "{{domain}}"),),
            values=VALUES,
            runbook="a-domain-is-degraded",
        ),
        Panel(
            "Open alarms",
            "Alarms that have not ended, with their cause.",
            "table",
            "none",
            (Query(f"redshank_drift_alarm{{{PICK}}}", "{{domain}} {{kind}} {{cause}}"),),
            hidden=("Value",),
            runbook="a-domain-is-degraded",
        ),
    )


def _evidence() -> tuple[Panel, ...]:
    def panel(kind: str, title: str, description: str) -> Panel:
        evidence = f'redshank_drift_evidence_log10{{{PICK}, kind="{kind}"}}'
        threshold = f"redshank_drift_threshold_log10{{{PICK}}}"  # each reference has its own
        beyond = Query(f"{evidence} - ignoring (kind) {threshold}", "{{domain}} {{reference}}")
        return Panel(title, description, "timeseries", "none", (beyond,))

    return (
        panel(
            "degraded",
            "Evidence of harm beyond its threshold (log10)",
            "From 0 on there is an alarm: confidence fell, or labels say that answers are wrong. "
            "Other classes may explain a fall of confidence, then the domain only drifts.",
        ),
        panel(
            "drift",
            "Evidence of any change beyond its threshold (log10)",
            "From 0 on there is an alarm.",
        ),
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
            runbook="a-domain-drifts-or-is-unknown",
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
            runbook="a-domain-is-silent",
        ),
        Panel(
            "Requests without a class",
            "Errors of each domain a second.",
            "timeseries",
            "ops",
            (Query(rate("redshank_domain_errors_total"), "{{domain}}"),),
            runbook="a-domain-sends-broken-images",
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
            runbook="something-waits-in-the-evaluator",
        ),
    )
