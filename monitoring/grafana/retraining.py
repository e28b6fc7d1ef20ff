"""Retraining history: what was healed, what the gates said, what is live."""

from __future__ import annotations

from .panels import Dashboard, Moment, Panel, Query, Variable

PICK = 'model=~"$model"'
ASKED = "a-healing-waits-for-you"
FAILED = "retraining-failed"


def retraining_dashboard() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid="redshank-retraining",
        title="redshank: retraining",
        description="Healings, their gates, and the releases that came of them. "
        "Approve and reject on the console.",
        variables=(Variable("model", "Model", "redshank_retrain_running"),),
        moments=(
            Moment(
                "Release",
                f"redshank_release_timestamp_seconds{{{PICK}}}",
                "release of {{model}} changed",
                "blue",
            ),
        ),
        panels=(*_now(), *_history(), *_gates()),
        span="now-30d",
    )


def _now() -> tuple[Panel, ...]:
    success = f"time() - max(redshank_retrain_last_success_timestamp_seconds{{{PICK}}})"
    return (
        Panel(
            "Waiting for a person",
            "Proposals that passed the gates.",
            "stat",
            "none",
            (Query(f"sum(redshank_retrain_proposals{{{PICK}}})"),),
            6,
            4,
            1,
            runbook=ASKED,
        ),
        Panel(
            "Under way",
            "Healings between snapshot and release.",
            "stat",
            "none",
            (Query(f"sum(redshank_retrain_running{{{PICK}}})"),),
            6,
            4,
        ),
        Panel(
            "Since a healed model went live",
            "No value until one did.",
            "stat",
            "s",
            (Query(success),),
            6,
            4,
        ),
        Panel(
            "Failed in the last day",
            "Healings that a stage's failure ended.",
            "stat",
            "none",
            (Query(f'sum(increase(redshank_retrain_runs_total{{{PICK}, outcome="failed"}}[1d]))'),),
            6,
            4,
            1,
            runbook=FAILED,
        ),
    )


def _history() -> tuple[Panel, ...]:
    by = "sum by (trigger, outcome)"
    return (
        Panel(
            "Healings by outcome",
            "All that ended so far, by what began them; one that was rolled back counts twice.",
            "table",
            "none",
            (Query(f"{by} (last_over_time(redshank_retrain_runs_total{{{PICK}}}[5m])) > 0"),),
        ),
        Panel(
            "Live bundle",
            "What each model's release names.",
            "table",
            "none",
            (Query(f"redshank_release_info{{{PICK}}}", "{{model}} {{bundle}}"),),
            hidden=("Value",),
            runbook="a-released-model-is-wrong",
        ),
        Panel(
            "Healings a day",
            "How many ended so in the day before.",
            "timeseries",
            "none",
            (
                Query(
                    f"sum by (outcome) (increase(redshank_retrain_runs_total{{{PICK}}}[1d]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Time in the present state",
            "Of healings that have not ended; `pending` waits for images or a cool-down.",
            "timeseries",
            "s",
            (
                Query(
                    f"time() - redshank_retrain_since_timestamp_seconds{{{PICK}}}",
                    "{{model}} {{state}}",
                ),
            ),
            runbook="retraining-stopped-half-way",
        ),
    )


def _gates() -> tuple[Panel, ...]:
    pairs = "on (model, gate, domain, verdict)"
    return (
        Panel(
            "Gates of the newest healing",
            "Values by gate and domain; `cannot_tell` turns automatic release into a proposal.",
            "table",
            "none",
            (Query(f"redshank_retrain_gate_value{{{PICK}}}", "{{gate}} {{domain}} {{verdict}}"),),
            24,
            runbook=ASKED,
        ),
        Panel(
            "Gate values less their thresholds",
            "How far each gate of the newest healing was from its threshold.",
            "timeseries",
            "none",
            (
                Query(
                    f"redshank_retrain_gate_value{{{PICK}}} - {pairs} "
                    f"redshank_retrain_gate_threshold{{{PICK}}}",
                    "{{gate}} {{domain}} {{verdict}}",
                ),
            ),
            24,
        ),
    )
