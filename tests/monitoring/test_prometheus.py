"""The real Prometheus scrapes real endpoints: panels find data, an alarm reaches a webhook."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from monitoring.console.sources import Sources
from monitoring.endpoint import serve_console
from monitoring.grafana.dashboard import all_dashboards
from monitoring.triggers import trigger_of
from redshank.trigger import make_trigger
from tests.monitoring.console.scene import HOOK, make_sources, propose
from tests.monitoring.live import (
    DEPLOY,
    alertmanager,
    ask,
    prometheus,
    served,
    until,
    worker_metrics,
)

FOG = "fog<script>"
HAS_ALERTMANAGER = shutil.which("prometheus-alertmanager") is not None
pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: prometheus)"
)


@dataclass
class Field:
    """A console and a worker under the eyes of Prometheus and Alertmanager."""

    sources: Sources
    port: int = 0
    delivered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and body of every webhook."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def deliver(self, path: str, body: bytes) -> bytes:
        with self.lock:
            self.delivered.append((path, json.loads(body)))
        return b""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    root = tmp_path_factory.mktemp("prometheus")
    sources = make_sources(root / "home", send=False)
    _heal(sources)
    _label(sources)
    own = Field(sources)
    worker = worker_metrics()
    with contextlib.ExitStack() as stack:
        console = stack.enter_context(serve_console(sources, "127.0.0.1", 0))
        metrics = stack.enter_context(served(lambda *_: worker.exposition()))
        hook = stack.enter_context(served(own.deliver))
        peer = None
        if HAS_ALERTMANAGER:
            peer = stack.enter_context(alertmanager(root / "alerts", console, hook, HOOK))
        targets = [address.removeprefix("http://") for address in (console, metrics)]
        own.port = stack.enter_context(prometheus(root / "prometheus", targets, peer))
        until("the worker's scrape", lambda: ask(own.port, "rate(redshank_requests_total[60s])"))
        yield own


def _heal(sources: Sources) -> None:
    """One healing that went live, one that waits."""
    for domain in ("home", "north gate"):
        sources.control.add_trigger(
            make_trigger(
                kind="manual", model="default", domains=[domain], onset_at_s=None,
                created_at_s=sources.clock(), actor="ann", evidence={},
            )
        )  # fmt: skip
        healing = propose(sources.control)
        if domain == "home":
            sources.control.transition(healing, "live", reason="", actor="ann", lease=None)


def _label(sources: Sources) -> None:
    board = sources.board
    found = {"accuracy": {"lower": 0.6, "upper": 0.75}, "labels": {"scenes": 40, "right": 21}}
    evidence = {"total_log10": 3.2, "confidence_log10": 3.2, "threshold_log10": 2.9}
    rows = []
    for row in board.picture.rows:
        more = {"evidence": row.detail["evidence"] | {"labelled": evidence}}
        rows.append(dataclasses.replace(row, detail=row.detail | found | more))
    board.picture = dataclasses.replace(board.picture, rows=tuple(rows))


def queries() -> list[tuple[str, str]]:
    """Title and expression of every query of every dashboard, annotations included."""
    found = []
    for board in (dashboard.as_json() for dashboard in all_dashboards()):
        found += [
            (f"{board['uid']} {panel['title']}", target["expr"])
            for panel in board["panels"]
            for target in panel["targets"]
        ]
        found += [
            (f"{board['uid']} {moment['name']}", moment["target"]["expr"])
            for moment in board["annotations"]["list"]
        ]
    return found


@pytest.mark.parametrize(("title", "expr"), queries(), ids=[title for title, _ in queries()])
def test_every_panel_has_data(scraped: Field, title: str, expr: str) -> None:
    expr = expr.replace("$__rate_interval", "60s").replace('="$model"', '="default"')
    expr = re.sub(r'=~"\$\w+"', '=~".*"', expr.replace('="$domain"', f'="{FOG}"'))
    assert "$" not in expr
    assert ask(scraped.port, expr), f"{title}: {expr} finds nothing"


def test_the_variables_of_the_dashboards_find_values(scraped: Field) -> None:
    for dashboard in all_dashboards():
        for variable in dashboard.variables:
            series = variable.series.replace('="$model"', '="default"').replace("$model", ".*")
            rows = ask(scraped.port, series)
            assert {row["metric"].get(variable.name) for row in rows} - {None}, variable


def selectors() -> list[str]:
    """Every series that a rule names, with the labels that it asks for but any value of them."""
    groups = yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"]
    text = "\n".join(rule["expr"] for group in groups for rule in group["rules"])
    found = re.findall(r"(?<![:\w])(redshank_\w+)(?:\{([^}]*)\})?", text)
    labels = {(name, tuple(re.findall(r"(\w+)=", picked))) for name, picked in found}
    return sorted(
        name + "{" + ", ".join(f'{label}!=""' for label in own) + "}" for name, own in labels
    )


@pytest.mark.parametrize("selector", selectors())
def test_every_series_of_a_rule_exists(scraped: Field, selector: str) -> None:
    assert ask(scraped.port, selector), f"no such series: {selector}"


def test_every_alert_and_record_is_evaluated_without_error(scraped: Field) -> None:
    until("records", lambda: ask(scraped.port, "model_state:redshank_domains:sum"))
    # a rate wants two scrapes
    until("a rate", lambda: ask(scraped.port, "instance:redshank_request_errors:ratio_rate5m"))
    failures = ask(scraped.port, "prometheus_rule_evaluation_failures_total > 0")
    assert failures == []


def test_the_harmed_domain_alone_pages(scraped: Field) -> None:
    alerts = 'ALERTS{alertstate="firing", alertname="DomainDegraded"}'
    firing = until("an alert", lambda: ask(scraped.port, alerts))
    assert [row["metric"]["domain"] for row in firing] == [FOG]


@pytest.mark.skipif(
    not HAS_ALERTMANAGER, reason="alertmanager is not installed (Debian: prometheus-alertmanager)"
)
def test_an_alarm_travels_to_a_webhook_and_becomes_one_trigger(scraped: Field) -> None:
    def found() -> list[dict[str, Any]]:
        with scraped.lock:
            pages = [body for path, body in scraped.delivered if path == "/page"]
        alerts = [alert for page in pages for alert in page["alerts"]]
        return [a for a in alerts if a["labels"]["alertname"] == "DomainDegraded"]

    until("three deliveries", lambda: len(found()) >= 3)  # repeats every second here
    alert = found()[0]
    assert alert["labels"]["domain"] == FOG
    assert alert["annotations"]["runbook_url"].endswith("#a-domain-is-degraded")

    control = scraped.sources.control
    until("the trigger", lambda: [t for t in control.triggers() if t.domains == (FOG,)])
    (trigger,) = [t for t in control.triggers() if t.domains == (FOG,)]
    alarm = next(a for a in scraped.sources.board.picture.alarms if a.kind == "degraded")
    own = trigger_of(alarm)
    assert own is not None
    assert trigger.idempotency_key == own.idempotency_key
    assert not control.add_trigger(own)  # the evaluator's own way makes no second one
