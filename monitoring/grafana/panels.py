"""A few typed pieces of Grafana's classic dashboard model, as much as our dashboard needs.

Classic, schema version 42: provisioned files of this kind load in Grafana 11, 12 and 13. The data
source is a template variable, because file provisioning does not resolve `__inputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["stat", "timeseries", "table", "heatmap"]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


@dataclass(frozen=True)
class Query:
    """One PromQL expression with the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel; `unit` is a Grafana unit id, sizes are grid cells (24 columns)."""

    title: str
    description: str
    kind: Kind
    unit: str
    queries: tuple[Query, ...]
    width: int = 12
    height: int = 8
    bad_from: float | None = None
    """Value from which it is shown in red."""


def dashboard_json(
    *, uid: str, title: str, description: str, panels: Sequence[Panel]
) -> dict[str, Any]:
    """The whole dashboard; panels flow left to right, top to bottom."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "schemaVersion": 42,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "tags": ["redshank"],
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": _placed(panels),
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _label_variable("model", "redshank_domain_state", "Model"),
        _label_variable("domain", 'redshank_domain_state{model=~"$model"}', "Domain"),
    ]


def _label_variable(name: str, series: str, label: str) -> dict[str, Any]:
    query = f"label_values({series}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"{name}-values"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _placed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    placed, x, y, row_height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        position = {"h": panel.height, "w": panel.width, "x": x, "y": y}
        placed.append({"id": number, "gridPos": position, **_panel(panel)})
        x, row_height = x + panel.width, max(row_height, panel.height)
    return placed


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [_target(panel, n, query) for n, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel.kind),
    }


def _target(panel: Panel, number: int, query: Query) -> dict[str, Any]:
    instant = panel.kind in ("stat", "table")
    form = {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series")
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "format": form,
        "instant": instant,
        "range": not instant,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    return {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}


def _options(kind: Kind) -> dict[str, Any]:
    if kind == "stat":
        return {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}}
    if kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": "percentunit"}}
    return {"showHeader": True}
