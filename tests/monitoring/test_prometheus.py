"""The real Prometheus scrapes the real endpoint; every query of the dashboard must find data."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.board import Board
from monitoring.console.sources import sources_of
from monitoring.endpoint import serve_console
from monitoring.grafana.dashboard import fleet_dashboard
from redshank.settings import Home, MonitoringSettings, Settings
from tests.monitoring.field import START, Site, Station, write_spool, write_test_bundle

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: prometheus)"
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, expr: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expr})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{expr}: {error.read().decode()}") from error


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    root = tmp_path_factory.mktemp("prometheus")
    write_test_bundle(root / "bundles")
    write_spool(root / "spool", [Site("home"), Site("fog", 25, spread=0.3)], 50)
    station = Station(root, now_s=START + 50)
    evaluator = station.evaluator()
    board = Board(MonitoringSettings(), lambda: station.now_s)
    board.publish(evaluator, evaluator.pass_once())
    settings = Settings(home=Home(root=str(root)))
    sources = sources_of(settings, board, station.store)
    with serve_console(sources, "127.0.0.1", 0) as address:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOY / "rules.yml")],
            "scrape_configs": [
                {
                    "job_name": "redshank-monitor",
                    "static_configs": [{"targets": [address.removeprefix("http://")]}],
                }
            ],
        }
        (root / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = [
            "prometheus",
            f"--config.file={root / 'prometheus.yml'}",
            f"--storage.tsdb.path={root / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as own:
            try:
                wait_for_two_scrapes(port)
                yield port
            finally:
                own.terminate()


def wait_for_two_scrapes(port: int) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            if ask(port, "rate(redshank_domain_images_total[30s])"):
                return
        except OSError:
            pass  # not listening yet
        time.sleep(0.3)
    raise AssertionError("prometheus saw no two scrapes in a minute")


def queries() -> list[tuple[str, str]]:
    return [
        (panel["title"], target["expr"])
        for panel in fleet_dashboard()["panels"]
        for target in panel["targets"]
    ]


@needs_prometheus
@pytest.mark.parametrize(("title", "expr"), queries(), ids=lambda value: str(value)[:40])
def test_every_panel_has_data(prometheus: int, title: str, expr: str) -> None:
    for name, value in {"$model": ".*", "$domain": ".*", "$__rate_interval": "30s"}.items():
        expr = expr.replace(name, value)
    assert ask(prometheus, expr), f"{title}: {expr} finds nothing"


@needs_prometheus
def test_the_variables_of_the_dashboard_find_values(prometheus: int) -> None:
    found = {row["metric"]["domain"] for row in ask(prometheus, "redshank_domain_state")}
    assert found == {"home", "fog"}


@needs_prometheus
def test_the_harmed_domain_alone_pages(prometheus: int) -> None:
    give_up = time.monotonic() + 30
    alerts = 'ALERTS{alertstate="firing", alertname="DomainDegraded"}'
    while not (firing := ask(prometheus, alerts)):
        assert time.monotonic() < give_up, "no alert within half a minute"
        time.sleep(0.3)
    assert [row["metric"]["domain"] for row in firing] == ["fog"]
