from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from monitoring.grafana import dashboard
from monitoring.grafana.panels import COLUMNS

PROVISIONING = Path(dashboard.__file__).parents[2] / "deploy" / "grafana" / "provisioning"


def test_the_committed_file_is_the_generated_one() -> None:
    assert dashboard.main(["--check"]) == 0


def test_a_stale_file_is_found_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard, "PATH", tmp_path / "made.json")
    assert dashboard.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().err
    assert dashboard.main([]) == 0
    assert dashboard.main(["--check"]) == 0


def test_every_panel_says_what_it_shows_and_none_overlap() -> None:
    made = dashboard.fleet_dashboard()
    assert made["schemaVersion"] == 42
    cells: set[tuple[int, int]] = set()
    for panel in made["panels"]:
        assert panel["title"]
        assert panel["description"].endswith((".", "normal."))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= COLUMNS
        assert not own & cells
        cells |= own
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])


def test_counters_are_only_shown_as_rates() -> None:
    text = json.dumps(dashboard.fleet_dashboard())
    for match in re.finditer(r"redshank_\w+_(total|bucket)", text):
        assert text[: match.start()].endswith("rate(")


def test_provisioning_files_are_complete() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "redshank.yaml").read_text())
    assert sources["apiVersion"] == 1
    assert sources["datasources"][0]["uid"]
    boards = yaml.safe_load((PROVISIONING / "dashboards" / "redshank.yaml").read_text())
    assert boards["providers"][0]["type"] == "file"
