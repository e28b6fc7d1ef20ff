from __future__ import annotations

import dataclasses
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from monitoring.board import Board
from monitoring.collector import BoardCollector
from monitoring.console.sources import Sources, sources_of
from monitoring.endpoint import MOST_BYTES, serve_console
from monitoring.retraining_series import RetrainingSeries
from redshank.errors import ConflictError
from redshank.settings import Home, MonitoringSettings, Settings
from redshank.store.monitor import open_monitor
from tests.monitoring.field import START, Site, Station, write_spool, write_test_bundle
from tests.monitoring.test_labels_arrive import make_world

SETTINGS = MonitoringSettings(tick_s=1.0, silent_after_s=1000.0)
TICKS = 60


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    root = tmp_path_factory.mktemp("station")
    write_test_bundle(root / "bundles", held_out=True)
    sites = [Site("home"), Site("fog<script>", 30, spread=0.3)]
    write_spool(root / "spool", sites, TICKS)
    return Station(root, now_s=START + TICKS)


@pytest.fixture(scope="module")
def board(station: Station) -> Board:
    evaluator = station.evaluator()
    board = Board(SETTINGS, lambda: station.now_s)
    board.publish(evaluator, evaluator.pass_once())
    return board


@pytest.fixture(scope="module")
def sources(board: Board, station: Station) -> Sources:
    settings = Settings(home=Home(root=str(station.root)), monitoring=SETTINGS)
    return sources_of(settings, board, station.store)


@pytest.fixture
def address(sources: Sources) -> Iterator[str]:
    with serve_console(sources, "127.0.0.1", 0) as address:
        yield address


def ask(url: str | urllib.request.Request, data: bytes | None = None) -> tuple[int, str, Message]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, data, timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def get(url: str) -> tuple[int, str]:
    return ask(url)[:2]


def samples(sources: Sources) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry(auto_describe=False)
    retraining = RetrainingSeries(sources.control, sources.registry)
    registry.register(BoardCollector(sources.board, retraining))
    return {
        (s.name, *(f"{k}={v}" for k, v in sorted(s.labels.items()) if k != "model")): s.value
        for family in registry.collect()
        for s in family.samples
    }


def test_metrics_are_parsed_and_agree_with_the_events(address: str, sources: Sources) -> None:
    status, text = get(f"{address}/metrics")
    assert status == 200
    names = {family.name for family in text_string_to_metric_families(text)}
    assert all(name.startswith("redshank_") for name in names)
    found = samples(sources)
    home = ("domain=home", "version=b1")
    assert found["redshank_domain_images_total", *home] == 10 * TICKS
    assert found["redshank_domain_state", "domain=home", "state=healthy", "version=b1"] == 1
    assert found["redshank_domain_state", "domain=home", "state=degraded", "version=b1"] == 0
    degraded = ("domain=fog<script>", "state=degraded", "version=b1")
    assert found["redshank_domain_state", *degraded] == 1
    by_class = [
        v for k, v in found.items() if k[0] == "redshank_domain_predictions_total" and home[0] in k
    ]
    assert sum(by_class) == pytest.approx(10 * TICKS)


def test_the_histogram_is_cumulative_and_ends_with_everything(sources: Sources) -> None:
    rows = {
        k: v for k, v in samples(sources).items() if k[0].startswith("redshank_prediction_conf")
    }
    home = {k: v for k, v in rows.items() if "domain=home" in k}
    buckets = [v for k, v in home.items() if k[0].endswith("_bucket")]
    assert buckets == sorted(buckets)
    total = home["redshank_prediction_confidence_ratio_count", "domain=home", "version=b1"]
    assert buckets[-1] == total == pytest.approx(10 * TICKS)
    mean = home["redshank_prediction_confidence_ratio_sum", "domain=home", "version=b1"] / total
    assert mean == pytest.approx(0.94, abs=0.02)


def test_evidence_and_threshold_are_shown_for_both_references(sources: Sources) -> None:
    found = samples(sources)
    fog = ("domain=fog<script>",)
    evidence = found["redshank_drift_evidence_log10", *fog, "kind=degraded",
                     "reference=relative", "version=b1"]  # fmt: skip
    limit = found["redshank_drift_threshold_log10", *fog, "reference=relative", "version=b1"]
    assert evidence > limit
    assert ("redshank_drift_threshold_log10", *fog, "reference=absolute", "version=b1") in found
    assert any(k[0] == "redshank_drift_alarm" and "kind=degraded" in k for k in found)


def test_cardinality_is_bounded_and_alarmed_domains_come_first(sources: Sources) -> None:
    few = dataclasses.replace(SETTINGS, metrics_domains=1)
    small = Board(few, sources.clock)
    small.picture = sources.board.picture
    found = samples(dataclasses.replace(sources, board=small))
    assert not any("domain=home" in key for key in found)
    assert found["redshank_domain_images_total", "domain=other", "version=b1"] == 10 * TICKS
    assert (
        found["redshank_domains", "state=healthy"]
        == found["redshank_domains", "state=degraded"]
        == 1
    )


def test_a_domain_called_other_takes_the_sums_of_the_hidden_ones(sources: Sources) -> None:
    rows = [
        dataclasses.replace(row, key=row.key._replace(domain=name))
        for row, name in zip(sources.board.picture.rows, ("other", "hidden"), strict=True)
    ]
    small = Board(dataclasses.replace(SETTINGS, metrics_domains=1), sources.clock)
    small.picture = dataclasses.replace(sources.board.picture, rows=tuple(rows), alarms=())
    found = samples(dataclasses.replace(sources, board=small))
    assert found["redshank_domain_images_total", "domain=other", "version=b1"] == 20 * TICKS


def test_defects_are_shares_of_recent_images(sources: Sources) -> None:
    row = sources.board.picture.rows[0]
    defects = {"images": 40.0, "even": 10.0}
    board = Board(SETTINGS, sources.clock)
    row = dataclasses.replace(row, detail=row.detail | {"defects": defects})
    board.picture = dataclasses.replace(sources.board.picture, rows=(row,))
    found = samples(dataclasses.replace(sources, board=board))
    shares = {k[1]: v for k, v in found.items() if k[0] == "redshank_defective_images_ratio"}
    assert shares == {"defect=undecodable": 0.0, "defect=even": 0.25, "defect=repeated": 0.0}


def test_an_accuracy_interval_is_shown_where_there_is_one(sources: Sources) -> None:
    assert not any("accuracy" in key[0] for key in samples(sources))
    row = sources.board.picture.rows[0]
    row = dataclasses.replace(row, detail=row.detail | {"accuracy": {"lower": 0.7, "upper": 0.8}})
    board = Board(SETTINGS, sources.clock)
    board.picture = dataclasses.replace(sources.board.picture, rows=(row,))
    found = samples(dataclasses.replace(sources, board=board))
    values = {key[0]: value for key, value in found.items() if "accuracy" in key[0]}
    assert values == {
        "redshank_estimated_accuracy_lower_ratio": 0.7,
        "redshank_estimated_accuracy_upper_ratio": 0.8,
    }


def test_labels_are_shown_with_the_evidence_that_they_bring(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.label("home", 20.5, right=21, wrong=19)
    evaluator = world.run(21)
    board = Board(SETTINGS, lambda: world.station.now_s)
    board.publish(evaluator, evaluator.pass_once())
    found = {
        (sample.name, *(v for k, v in sample.labels.items() if k in ("answer", "reference"))): (
            sample.value
        )
        for family in BoardCollector(board).collect()
        for sample in family.samples
        if sample.labels.get("domain") == "home"
    }
    assert found["redshank_labelled_scenes", "right"] == 21
    assert found["redshank_labelled_scenes", "wrong"] == 19
    evidence = found["redshank_drift_evidence_log10", "labelled"]
    assert evidence >= found["redshank_drift_threshold_log10", "labelled"]


def test_the_console_is_served_with_headers_that_forbid_scripts(address: str) -> None:
    status, page, headers = ask(f"{address}/")
    assert status == 200
    assert "fog&lt;script&gt;" in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


def test_bodies_are_bounded(address: str) -> None:
    large = {"Content-Length": str(MOST_BYTES + 1)}
    request = urllib.request.Request(f"{address}/alerts", b"", large)
    assert ask(request)[0] == 413
    assert ask(f"{address}/alerts", b"{}")[0] == 401


def test_a_fault_in_a_page_is_logged_and_answered(
    address: str,
    sources: Sources,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sources.board, "state", lambda _: 1 / 0)
    status, text = get(f"{address}/")
    assert (status, text) == (500, "the log says what went wrong\n")
    assert "ZeroDivisionError" in caplog.text


def test_a_domain_without_events_is_silent(board: Board, station: Station) -> None:
    later = Board(SETTINGS, lambda: station.now_s + 5000)
    later.picture = board.picture
    states = {row.key.domain: later.state(row)[0] for row in later.picture.rows}
    assert set(states.values()) == {"silent"}


def test_other_paths_and_health(address: str) -> None:
    assert get(f"{address}/healthz") == (200, "ok\n")
    assert get(f"{address}/nothing")[0] == 404


def test_a_taken_port_is_a_clear_error(sources: Sources, address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    with (
        pytest.raises(ConflictError, match=f"cannot listen on 127.0.0.1:{port}"),
        serve_console(sources, "127.0.0.1", port),
    ):
        pass


def test_an_empty_board_has_a_page_and_metrics(tmp_path: Path) -> None:
    board = Board(SETTINGS, lambda: START)
    settings = Settings(home=Home(root=str(tmp_path)), monitoring=SETTINGS)
    sources = sources_of(settings, board, open_monitor(settings.home.monitor_database))
    with serve_console(sources, "127.0.0.1", 0) as address:
        assert "No domain has been counted yet" in get(f"{address}/")[1]
        metrics = get(f"{address}/metrics")[1]
        assert "redshank_monitor_domains 0.0" in metrics
        assert "last_tick" not in metrics  # nobody shall be paged during a long first pass
