"""One domain in depth: what changed, since when, by what, and what it may cost."""

from __future__ import annotations

from .panels import Dashboard, Moment, Panel, Query, Variable
from .states import VALUES, state_number

PICK = 'model="$model", domain="$domain"'


def domain_dashboard() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid="redshank-domain",
        title="redshank: one domain",
        description="What changed in a domain, since when, and by what. "
        "Example images are on the console's page of the domain.",
        variables=(
            Variable("model", "Model", "redshank_domain_state", multi=False),
            Variable("domain", "Domain", 'redshank_domain_state{model="$model"}', multi=False),
        ),
        moments=(
            Moment(
                "Onset",
                f"redshank_drift_onset_timestamp_seconds{{{PICK}}}",
                "{{kind}} of {{domain}} began",
                "orange",
            ),
            Moment(
                "Release",
                'redshank_release_timestamp_seconds{model="$model"}',
                "release of {{model}} changed",
                "blue",
            ),
        ),
        panels=(*_now(), *_course(), *_labels(), *_causes(), *_shape()),
    )


def _now() -> tuple[Panel, ...]:
    events = f"time() - max(redshank_domain_last_event_timestamp_seconds{{{PICK}}})"
    return (
        Panel(
            "State",
            "The domain's state; the console's page says why in one sentence.",
            "stat",
            "none",
            (Query(state_number(PICK), "{{domain}}"),),
            6,
            4,
            values=VALUES,
            runbook="a-domain-is-degraded",
        ),
        Panel(
            "Estimated accuracy, lower end",
            "Of an interval: without labels, by labels from 20 on; none while images are unlike "
            "anything known.",
            "stat",
            "percentunit",
            (Query(f"min(redshank_estimated_accuracy_lower_ratio{{{PICK}}})"),),
            6,
            4,
            runbook="estimated-accuracy-is-low",
        ),
        Panel(
            "Estimated accuracy, upper end",
            "The alert looks at this end: even the best guess is low.",
            "stat",
            "percentunit",
            (Query(f"max(redshank_estimated_accuracy_upper_ratio{{{PICK}}})"),),
            6,
            4,
            runbook="estimated-accuracy-is-low",
        ),
        Panel(
            "Age of the last image",
            "Seconds since the domain sent anything.",
            "stat",
            "s",
            (Query(events),),
            6,
            4,
            86400,
            runbook="a-domain-is-silent",
        ),
    )


def _course() -> tuple[Panel, ...]:
    kinds = "Kind `degraded` is the fall of confidence alone, `drift` is any change."
    return (
        Panel(
            "State over time",
            "The worst of the versions that answer.",
            "state-timeline",
            "none",
            (Query(state_number(PICK), "{{domain}}"),),
            24,
            5,
            values=VALUES,
        ),
        _evidence("relative", "its own burn-in", kinds),
        _evidence("absolute", "held-out source domains", kinds),
        Panel(
            "Mean confidence",
            "Recent scenes, and the means of both references.",
            "timeseries",
            "percentunit",
            (
                Query(f"redshank_confidence_mean_ratio{{{PICK}}}", "recent {{version}}"),
                Query(f"redshank_confidence_reference_mean_ratio{{{PICK}}}", "{{reference}}"),
            ),
        ),
        Panel(
            "Estimated accuracy",
            "Both ends of the interval: without labels, by labels from 20 labelled scenes on.",
            "timeseries",
            "percentunit",
            (
                Query(f"redshank_estimated_accuracy_upper_ratio{{{PICK}}}", "upper"),
                Query(f"redshank_estimated_accuracy_lower_ratio{{{PICK}}}", "lower"),
            ),
            runbook="estimated-accuracy-is-low",
        ),
    )


def _evidence(reference: str, against: str, description: str) -> Panel:
    pick = f'{PICK}, reference="{reference}"'
    found = Query(f"redshank_drift_evidence_log10{{{pick}}}", "{{kind}} {{version}}")
    limit = Query(f"max(redshank_drift_threshold_log10{{{pick}}})", "threshold")
    title = f"Evidence against {against} (log10)"
    return Panel(title, description, "timeseries", "none", (found, limit))


def _labels() -> tuple[Panel, ...]:
    return (
        Panel(
            "Labelled scenes",
            "Since the onset of the open alarm, else in the last budget period.",
            "timeseries",
            "none",
            (Query(f"redshank_labelled_scenes{{{PICK}}}", "{{answer}} {{version}}"),),
            runbook="a-domain-is-degraded",
        ),
        _evidence(
            "labelled",
            "the promised accuracy, by labels",
            "Above the threshold labels show fewer right answers than the bundle promised.",
        ),
    )


def _causes() -> tuple[Panel, ...]:
    return (
        Panel(
            "Fall of confidence: look or class mix",
            "While an alarm is open: what worse images cost, and what other classes explain.",
            "timeseries",
            "percentunit",
            (
                Query(f"redshank_drop_from_look_ratio{{{PICK}}}", "look"),
                Query(f"redshank_drop_from_class_mix_ratio{{{PICK}}}", "class mix"),
            ),
            runbook="a-domain-is-degraded",
        ),
        Panel(
            "Images unlike training",
            "Share of recent images beyond the 95 % novelty quantile; 5 % is normal.",
            "timeseries",
            "percentunit",
            (Query(f"redshank_novelty_ratio{{{PICK}}}", "{{version}}"),),
            runbook="a-domain-drifts-or-is-unknown",
        ),
        Panel(
            "Images that are no evidence",
            "Share of recent images that cannot be decoded, have one even colour, or repeat.",
            "timeseries",
            "percentunit",
            (Query(f"redshank_defective_images_ratio{{{PICK}}}", "{{defect}} {{version}}"),),
            runbook="a-domain-sends-broken-images",
        ),
        Panel(
            "Images and errors a second",
            "Classified images, and requests that got no class.",
            "timeseries",
            "ops",
            (Query(_rate("images"), "images"), Query(_rate("errors"), "errors")),
            runbook="a-domain-sends-broken-images",
        ),
    )


def _rate(what: str) -> str:
    return f"sum(rate(redshank_domain_{what}_total{{{PICK}}}[$__rate_interval]))"


def _shape() -> tuple[Panel, ...]:
    histogram = f"redshank_prediction_confidence_ratio_bucket{{{PICK}}}"
    predicted = f"redshank_domain_predictions_total{{{PICK}}}"
    return (
        Panel(
            "Confidence histogram",
            "Scene-weighted predictions by calibrated confidence.",
            "heatmap",
            "percentunit",
            (Query(f"sum by (le) (rate({histogram}[$__rate_interval]))", "{{le}}"),),
        ),
        Panel(
            "Predicted classes",
            "Share of each predicted class, scene-weighted.",
            "timeseries",
            "percentunit",
            (
                Query(
                    f"sum by (predicted) (rate({predicted}[$__rate_interval])) "
                    f"/ ignoring (predicted) group_left sum(rate({predicted}[$__rate_interval]))",
                    "class {{predicted}}",
                ),
            ),
        ),
    )
