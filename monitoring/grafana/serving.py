"""Serving health: requests, latency, what became of images, events, releases."""

from __future__ import annotations

from .panels import Dashboard, Moment, Panel, Query, Variable

PICK = 'instance=~"$instance"'
EVERY = "[$__rate_interval]"
OVERLOAD = "answers-429-503-or-504"


def serving_dashboard() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid="redshank-serving",
        title="redshank: serving",
        description="Whether predictions are answered, how fast, and whether every one is counted.",
        variables=(Variable("instance", "Server", "redshank_requests_total"),),
        moments=(
            Moment(
                "Release",
                "redshank_release_timestamp_seconds",
                "release of {{model}} changed",
                "blue",
            ),
        ),
        panels=(*_summary(), *_requests(), *_model(), *_events()),
        span="now-6h",
    )


def _summary() -> tuple[Panel, ...]:
    requests = f"sum(rate(redshank_requests_total{{{PICK}}}{EVERY}))"
    failed = f'sum(rate(redshank_requests_total{{{PICK}, status=~"5.."}}{EVERY}))'
    dropped = f"sum(increase(redshank_events_dropped_total{{{PICK}}}[1h]))"
    return (
        Panel("Requests a second", "All routes.", "stat", "reqps", (Query(requests),), 6, 4),
        Panel(
            "Answers of the server's fault",
            "Share of answers with a status of 500 and above.",
            "stat",
            "percentunit",
            (Query(f"({failed} or vector(0)) / {requests}"),),
            6,
            4,
            0.01,
            runbook=OVERLOAD,
        ),
        Panel(
            "99th percentile of the time to answer",
            "All routes together.",
            "stat",
            "s",
            (Query(_quantile(0.99)),),
            6,
            4,
            runbook=OVERLOAD,
        ),
        Panel(
            "Events lost in the last hour",
            "Predictions that were answered and never reached the spool.",
            "stat",
            "none",
            (Query(f"{dropped} or vector(0)"),),
            6,
            4,
            1,
            runbook="the-disk-is-full",
        ),
    )


def _quantile(share: float, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    rate = f"sum by ({labels}) (rate(redshank_request_seconds_bucket{{{PICK}}}{EVERY}))"
    return f"histogram_quantile({share}, {rate})"


def _requests() -> tuple[Panel, ...]:
    answers = f"sum by (status) (rate(redshank_requests_total{{{PICK}}}{EVERY}))"
    routes = f"sum by (route) (rate(redshank_requests_total{{{PICK}}}{EVERY}))"
    heat = f"sum by (le) (rate(redshank_request_seconds_bucket{{{PICK}}}{EVERY}))"
    shares = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
    return (
        Panel(
            "Answers by status",
            "429: more wait than serving.max_queue. 503: no model. 504: waited too long.",
            "timeseries",
            "reqps",
            (Query(answers, "{{status}}"),),
            runbook=OVERLOAD,
        ),
        Panel(
            "Time to answer",
            "Half, 95 % and 99 % of the requests were answered within this time.",
            "timeseries",
            "s",
            tuple(Query(_quantile(share), name) for share, name in shares),
            runbook=OVERLOAD,
        ),
        Panel(
            "Requests by route",
            "Route templates; unknown addresses are `other`.",
            "timeseries",
            "reqps",
            (Query(routes, "{{route}}"),),
        ),
        Panel("Times to answer", "All answers by time.", "heatmap", "s", (Query(heat, "{{le}}"),)),
    )


def _model() -> tuple[Panel, ...]:
    outcomes = f"sum by (outcome) (rate(redshank_predictions_total{{{PICK}}}{EVERY}))"
    roles = f"sum by (version, role) (rate(redshank_predictions_total{{{PICK}}}{EVERY}))"
    images = f"sum(rate(redshank_batch_images_sum{{{PICK}}}{EVERY}))"
    runs = f"sum(rate(redshank_batch_images_count{{{PICK}}}{EVERY}))"
    return (
        Panel(
            "Images by outcome",
            "`ok`, or the code of the error.",
            "timeseries",
            "ops",
            (Query(outcomes, "{{outcome}}"),),
            runbook="a-domain-sends-broken-images",
        ),
        Panel(
            "Images by version and role",
            "Which bundle answered, as live or canary.",
            "timeseries",
            "ops",
            (Query(roles, "{{version}} {{role}}"),),
            runbook="a-released-model-is-wrong",
        ),
        Panel(
            "Images in one run of the model",
            "Mean size of a batch.",
            "timeseries",
            "none",
            (Query(f"{images} / {runs}", "images"),),
        ),
        Panel(
            "Release revision",
            "Lowest revision that a living worker answers with; all servers should agree.",
            "timeseries",
            "none",
            (Query(f"redshank_release_revision{{{PICK}}}", "{{model}} {{instance}}"),),
            runbook="a-release-is-not-taken-over",
        ),
    )


def _events() -> tuple[Panel, ...]:
    def rate(series: str, by: str) -> str:
        return f"sum by ({by}) (rate(redshank_{series}_total{{{PICK}}}{EVERY}))"

    return (
        Panel(
            "Events into the spool",
            "Written and lost; lost ones are unseen by the monitor.",
            "timeseries",
            "ops",
            (
                Query(rate("events_written", "instance"), "written {{instance}}"),
                Query(rate("events_dropped", "reason"), "lost: {{reason}}"),
            ),
            runbook="the-disk-is-full",
        ),
        Panel(
            "Images offered to the field store",
            "Stored, passed over by the sample or the rate, behind, or failed.",
            "timeseries",
            "ops",
            (Query(rate("captures", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Shadow agrees",
            "Images that the shadow saw too, by agreement with the live answer.",
            "timeseries",
            "ops",
            (Query(rate("shadow", "version, agrees"), "{{version}} {{agrees}}"),),
        ),
        Panel(
            "Releases taken over, and failed",
            "A failure leaves the bundle before in place.",
            "timeseries",
            "ops",
            (
                Query(rate("release_swaps", "instance"), "taken over {{instance}}"),
                Query(rate("release_failures", "role"), "failed: {{role}}"),
            ),
            runbook="a-release-is-not-taken-over",
        ),
    )
