from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from monitoring.grafana import dashboard
from monitoring.grafana.panels import UID
from monitoring.grafana.states import NUMBERS
from redshank.store.monitor_rows import STATES

PROVISIONING = Path(dashboard.__file__).parents[2] / "deploy" / "grafana" / "provisioning"


def test_the_committed_files_are_the_generated_ones() -> None:
    assert dashboard.main(["--check"]) == 0
    committed = {path.stem for path in dashboard.FOLDER.glob("*.json")}
    assert committed == {made.uid for made in dashboard.all_dashboards()}


def test_a_stale_file_is_found_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard, "FOLDER", tmp_path)
    assert dashboard.main(["--check"]) == 1
    assert "redshank-domain.json is stale" in capsys.readouterr().err
    assert dashboard.main([]) == 0
    assert dashboard.main(["--check"]) == 0


def test_every_state_has_a_number_of_its_own() -> None:
    assert set(NUMBERS) == set(STATES)
    assert len({number for number, _ in NUMBERS.values()}) == len(STATES)


def test_provisioning_files_are_complete() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "redshank.yaml").read_text())
    assert sources["apiVersion"] == 1
    assert sources["datasources"][0]["uid"] == UID
    assert sources["datasources"][0]["type"] == "prometheus"
    boards = yaml.safe_load((PROVISIONING / "dashboards" / "redshank.yaml").read_text())
    assert boards["apiVersion"] == 1
    assert boards["providers"][0]["type"] == "file"
    assert boards["providers"][0]["allowUiUpdates"] is False
