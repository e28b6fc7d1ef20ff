from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from monitoring.feasible import check_settings
from redshank.cli import main
from redshank.errors import ConfigError
from redshank.settings import MonitoringSettings


def test_the_defaults_are_feasible() -> None:
    check_settings(MonitoringSettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tick_s", 0.0),
        ("tick_s", math.nan),
        ("period_ticks", 0),
        ("false_alarms", 0.0),
        ("false_alarms", 1.0),
        ("margin", -0.01),
        ("absolute_margin", 1.0),
        ("burn_in_scenes", 0),
        ("scene_gap_s", -1.0),
        ("scene_distance", 65),
        ("silent_after_s", 0.0),
        ("max_domains", 0),
        ("metrics_domains", -1),
        ("window_days", -3.0),
        ("port", 65_536),
    ],
)
def test_a_number_that_cannot_work_is_refused_by_name(name: str, value: Any) -> None:
    changed = dataclasses.replace(MonitoringSettings(), **{name: value})
    with pytest.raises(ConfigError, match=rf"monitoring\.{name} is {value}, expected"):
        check_settings(changed)


@pytest.mark.parametrize("words", [["--tick", "-5"], ["--tick", "nan"], ["--metrics-port", "-1"]])
def test_a_refused_watch_leaves_no_database(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--set", f"home.root={tmp_path / 'home'}"]
    assert main(["watch", "--once", *words, *home]) == 1
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
