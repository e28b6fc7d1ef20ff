"""The published rules of Grafana's dashboard-linter, and a few of our own, on every dashboard.

Left out, as the linter's own mixin rules: `template-job-rule`, `template-instance-rule`,
`target-job-rule`, `target-instance-rule` (our series have a prefix of their own and an evaluator
is one), and the rules for Loki.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.console.runbook import body
from monitoring.grafana.dashboard import all_dashboards
from monitoring.grafana.panels import COLUMNS, UID

Json = dict[str, Any]
BOARDS = [dashboard.as_json() for dashboard in all_dashboards()]
PANELS = [(board, panel) for board in BOARDS for panel in board["panels"]]
each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
each_panel = pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{b['uid']}-{p['title']}" for b, p in PANELS]
)
UNITS = {"none", "s", "percentunit", "ops", "reqps"}
COUNTER = re.compile(r"redshank_\w+_(?:total|bucket|sum|count)\b")
RATES = ("rate(", "increase(", "last_over_time(")


def expressions(board: Json) -> list[str]:
    """Every PromQL expression: panels', annotations', variables'."""
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [moment["target"]["expr"] for moment in board["annotations"]["list"]]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found.append(re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])[1])  # type: ignore[index]  # its only form
    return found


def substituted(expr: str) -> str:
    """With values for Grafana's variables, so that Prometheus can read it."""
    expr = expr.replace("$__rate_interval", "5m")
    return re.sub(r'"\$\w+"', '".*"', expr)


@each_board
def test_the_data_source_is_a_variable_that_begins_with_ours(board: Json) -> None:
    (variable,) = [v for v in board["templating"]["list"] if v["type"] == "datasource"]
    assert (variable["name"], variable["query"]) == ("datasource", "prometheus")
    assert variable["label"] == "Data source"
    assert variable["current"]["value"] == UID


@each_board
def test_variables_are_read_anew_when_the_time_changes(board: Json) -> None:
    queries = [v for v in board["templating"]["list"] if v["type"] == "query"]
    assert queries
    for variable in queries:
        assert variable["refresh"] == 2
        assert variable["datasource"]["uid"] == "${datasource}"
        assert variable["label"]


@each_board
def test_a_dashboard_cannot_be_edited_in_place(board: Json) -> None:
    assert board["editable"] is False


@each_board
def test_a_dashboard_has_a_fixed_id_title_and_tags(board: Json) -> None:
    assert re.fullmatch(r"redshank-[a-z]+", board["uid"])
    assert board["title"].startswith("redshank: ")
    assert board["description"].endswith(".")
    assert board["tags"] == ["redshank"]
    assert board["timezone"] == "utc"
    assert board["schemaVersion"] == 42
    assert "__inputs" not in json.dumps(board)


@each_board
def test_a_dashboard_leads_to_the_others_the_console_and_the_runbook(board: Json) -> None:
    links = {link["title"]: link for link in board["links"]}
    assert links["redshank"]["type"] == "dashboards"
    assert links["Runbook"]["url"] == "${console}/runbook"
    assert [v["name"] for v in board["templating"]["list"]].count("console") == 1


@each_board
def test_panels_do_not_overlap_and_ids_are_unique(board: Json) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= COLUMNS
        assert not own & cells
        cells |= own
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@each_panel
def test_a_panel_has_title_and_description(board: Json, panel: Json) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    titles = [other["title"] for other in board["panels"]]
    assert titles.count(panel["title"]) == 1


@each_panel
def test_a_panel_and_its_targets_use_the_variable_data_source(board: Json, panel: Json) -> None:
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"], f"{board['uid']} has a panel without query"
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["legendFormat"]
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)


@each_panel
def test_a_panel_has_a_unit(board: Json, panel: Json) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, board["uid"]


@each_panel
def test_variables_in_a_query_exist(board: Json, panel: Json) -> None:
    known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    for target in panel["targets"]:
        assert set(re.findall(r"\$\{?(\w+)", target["expr"])) <= known


@each_panel
def test_counters_are_only_shown_as_rates_over_a_fitting_interval(board: Json, panel: Json) -> None:
    for target in panel["targets"]:
        expr = target["expr"]
        for match in COUNTER.finditer(expr):
            assert expr[: match.start()].endswith(RATES), f"{board['uid']}: {expr}"
        for function in ("rate", "irate"):
            assert not re.search(rf"\b{function}\([^)]*\[(?!\$__rate_interval)", expr)


@each_panel
def test_links_lead_to_sections_of_the_runbook(board: Json, panel: Json) -> None:
    ids = set(re.findall(r'id="([^"]+)"', body()))
    for link in panel.get("links", []):
        address, _, section = link["url"].partition("#")
        assert address == "${console}/runbook"
        assert section in ids, f"{board['uid']}: {panel['title']}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@each_board
def test_every_expression_is_promql(board: Json, tmp_path: Path) -> None:
    rules = [
        {"record": f"check:{number}:x", "expr": substituted(expr)}
        for number, expr in enumerate(expressions(board))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "check", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
