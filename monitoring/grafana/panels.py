"""A few typed pieces of Grafana's classic dashboard model, as much as our dashboards need.

Classic, schema version 42: provisioned files of this kind load in Grafana 11, 12 and 13. The data
source is a template variable, because file provisioning does not resolve `__inputs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["stat", "timeseries", "table", "heatmap", "state-timeline"]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UID = "redshank-prometheus"
"""Of the provisioned data source."""
COLUMNS = 24
INSTANT: frozenset[Kind] = frozenset({"stat", "table"})
ALWAYS_HIDDEN = ("Time", "__name__", "job", "instance")


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
    values: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """Text and colour of single values."""
    hidden: tuple[str, ...] = ()
    """Columns of a table to leave out."""
    runbook: str = ""
    """Section of the runbook, as its anchor."""


@dataclass(frozen=True)
class Variable:
    """Values of a label to choose from."""

    name: str
    label: str
    series: str
    multi: bool = True

    @property
    def query(self) -> str:
        """What Grafana asks Prometheus for."""
        return f"label_values({self.series}, {self.name})"


@dataclass(frozen=True)
class Moment:
    """A vertical line at the time that a series' value tells, in seconds since the epoch."""

    name: str
    expr: str
    text: str
    colour: str


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; panels flow left to right, top to bottom."""

    uid: str
    title: str
    description: str
    panels: Sequence[Panel]
    variables: tuple[Variable, ...] = ()
    moments: tuple[Moment, ...] = ()
    span: str = "now-24h"

    def as_json(self) -> dict[str, Any]:
        """The whole in Grafana's classic form."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "schemaVersion": 42,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "tags": ["redshank"],
            "time": {"from": self.span, "to": "now"},
            "timezone": "utc",
            "annotations": {"list": [_annotation(moment) for moment in self.moments]},
            "links": _links(),
            "templating": {"list": [*_fixed_variables(), *map(_variable, self.variables)]},
            "panels": _placed(self.panels),
        }


def _link(title: str, url: str, **changes: object) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "title": title,
        "url": url,
        "type": "link",
        "icon": "doc",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "targetBlank": True,
        "includeVars": False,
        "keepTime": False,
    }
    return {**plain, **changes}


def _links() -> list[dict[str, Any]]:
    others: dict[str, Any] = {"type": "dashboards", "tags": ["redshank"], "asDropdown": True}
    others |= {"targetBlank": False, "includeVars": True, "keepTime": True}
    return [
        _link("redshank", "", icon="external link", **others),
        _link("Console", "${console}/", icon="dashboard"),
        _link("Runbook", "${console}/runbook"),
    ]


def _fixed_variables() -> list[dict[str, Any]]:
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "current": {"text": "redshank Prometheus", "value": UID},
            "refresh": 1,
        },
        {
            "name": "console",
            "label": "Address of the console",
            "type": "textbox",
            "query": "http://127.0.0.1:9464",
            "current": {"text": "http://127.0.0.1:9464", "value": "http://127.0.0.1:9464"},
            "hide": 2,
        },
    ]


def _variable(variable: Variable) -> dict[str, Any]:
    every = {"text": ["All"], "value": ["$__all"]}
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.query, "refId": f"{variable.name}-values"},
        "refresh": 2,
        "sort": 1,
        "multi": variable.multi,
        "includeAll": variable.multi,
        **({"allValue": ".*", "current": every} if variable.multi else {}),
    }


def _annotation(moment: Moment) -> dict[str, Any]:
    return {
        "name": moment.name,
        "enable": True,
        "iconColor": moment.colour,
        "datasource": DATASOURCE,
        "target": {"refId": "Anno", "expr": f"1000 * ({moment.expr})", "interval": "60s"},
        "useValueForTime": True,
        "titleFormat": moment.name,
        "textFormat": moment.text,
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
    made = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [_target(panel, n, query) for n, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel.kind),
    }
    if panel.kind == "table":
        hidden = dict.fromkeys((*ALWAYS_HIDDEN, *panel.hidden), True)
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    if panel.runbook:
        made["links"] = [_link("Runbook", f"${{console}}/runbook#{panel.runbook}")]
    return made


def _target(panel: Panel, number: int, query: Query) -> dict[str, Any]:
    instant = panel.kind in INSTANT
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
    made: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.values:
        shown = {str(v): {"text": text, "color": c} for v, (text, c) in panel.values.items()}
        made["mappings"] = [{"type": "value", "options": shown}]
    if panel.kind == "timeseries":
        made["custom"] = {"lineWidth": 2, "fillOpacity": 0, "showPoints": "never"}
    return made


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    """A line called `threshold` is dashed and red wherever it is drawn."""
    if panel.kind != "timeseries" or all(query.legend != "threshold" for query in panel.queries):
        return []
    dashed = {"fill": "dash", "dash": [8, 6]}
    return [
        {
            "matcher": {"id": "byName", "options": "threshold"},
            "properties": [
                {"id": "custom.lineStyle", "value": dashed},
                {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
            ],
        }
    ]


def _options(kind: Kind) -> dict[str, Any]:
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    match kind:
        case "stat":
            return {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}}
        case "timeseries":
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "state-timeline":
            return {"legend": legend, "showValue": "auto", "mergeValues": True, "rowHeight": 0.8}
        case "heatmap":
            return {"calculate": False, "yAxis": {"unit": "percentunit"}}
        case "table":
            return {"showHeader": True}
