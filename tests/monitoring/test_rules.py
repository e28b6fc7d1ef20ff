"""Rules and configurations of deploy/prometheus, by the tools of Prometheus and Alertmanager."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
needs_amtool = pytest.mark.skipif(
    shutil.which("amtool") is None,
    reason="amtool is not installed (Debian: prometheus-alertmanager)",
)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_rules_and_configuration_are_valid() -> None:
    assert "rules found" in run("promtool", "check", "rules", str(DEPLOY / "rules.yml"))
    run("promtool", "check", "config", str(DEPLOY / "prometheus.yml"))


@needs_promtool
def test_rules_fire_when_they_should_and_only_then() -> None:
    run("promtool", "test", "rules", str(DEPLOY / "rules_test.yml"))


@needs_promtool
def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "rules.yml", tmp_path)
    wrong = (DEPLOY / "rules_test.yml").read_text().replace("severity: page", "severity: none", 1)
    (tmp_path / "wrong.yml").write_text(wrong)
    done = subprocess.run(
        ["promtool", "test", "rules", "wrong.yml"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 1


@needs_amtool
def test_alertmanager_example_is_valid() -> None:
    run("amtool", "check-config", str(DEPLOY / "alertmanager.example.yml"))
