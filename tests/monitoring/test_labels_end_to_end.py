"""From an alarm to its refutation by the command alone: queue, labels, import, watch, status."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monitoring.watch import watch
from redshank.cli import main
from redshank.config import load_settings
from redshank.events import Event, EventWriter
from redshank.fieldstore import FieldStore
from redshank.registry import Registry
from tests.monitoring.field import START, Site, site_events, write_test_bundle
from tests.monitoring.test_labels_arrive import with_digest

CHANGE, TICKS, KEPT = 15, 26, 70
DOMAINS = {"dusk": 1.0, "fog": 0.4}
"""Both lose confidence; the share of right answers afterwards."""


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Event]:
    """A home whose two sites changed, with field images of every answer since; by digest."""
    settings = {
        "HOME__ROOT": str(tmp_path),
        "MONITORING__TICK_S": "1.0",
        "MONITORING__PERIOD_TICKS": "200",
        "MONITORING__BURN_IN_SCENES": "150",
        "MONITORING__SCENE_GAP_S": "0.0",
        "MONITORING__SILENT_AFTER_S": "1e12",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"REDSHANK_{name}", value)
    write_test_bundle(tmp_path / "bundles")
    Registry(tmp_path / "models", tmp_path / "bundles").publish(
        "b1", actor="ann", reason="first", at_s=START
    )
    sites = [Site(name, CHANGE, spread=0.25, per_tick=25) for name in DOMAINS]
    found = [with_digest(e) for site in sites for e in site_events(site, TICKS)]
    with EventWriter(tmp_path / "spool", "w0") as writer:
        writer.append(sorted(found, key=lambda e: e.received_at))
    data = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(data, "PNG")
    field = FieldStore(tmp_path / "field")
    for name in DOMAINS:
        late = [e for e in found if e.domain == name and e.received_at > START + CHANGE + 2]
        for event in late[:KEPT]:
            field.add(
                name, data.getvalue(), sha256=event.image_sha256,
                received_at=event.received_at, client=event.client, dhash="",
                sequence_id=event.sequence_id, confidence=event.confidence, novelty=0.5,
            )  # fmt: skip
    return {event.image_sha256: event for event in found}


def evaluate() -> None:
    """`redshank watch --once`, a little later than now: what was said a moment ago counts."""
    watch(load_settings(None), once=True, stop=threading.Event(), clock=lambda: time.time() + 60)


def status(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    main(["watch", "status", "--json"])
    rows = json.loads(capsys.readouterr().out)
    return {row["domain"]: row for row in rows}


def test_labels_refute_one_alarm_and_confirm_the_other(
    events: dict[str, Event], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate()
    before = status(capsys)
    assert {before[name]["state"] for name in DOMAINS} == {"degraded"}

    out = tmp_path / "audit.csv"
    assert main(["label", "queue", "--images", "100", "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    rng, asked = np.random.default_rng(1), dict.fromkeys(DOMAINS, 0)
    for row in rows:
        answer = events[row["image_sha256"]].class_index
        is_right = rng.random() < DOMAINS[row["domain"]]
        row["label"] = f"class {answer if is_right else (answer + 1) % 4}"
        asked[row["domain"]] += 1
    assert set(asked.values()) == {KEPT}
    with out.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    assert main(["label", "import", str(out), "--actor", "lea"]) == 0
    assert f"{len(rows)} new" in capsys.readouterr().err

    evaluate()
    after = status(capsys)
    assert after["dusk"]["state"] == "drift"
    assert "Labels refute harm: of " in str(after["dusk"]["sentence"])
    assert after["fog"]["state"] == "degraded"
    assert "Labels confirm harm: of " in str(after["fog"]["sentence"])
    for name in DOMAINS:
        accuracy = after[name]["accuracy"]
        assert isinstance(accuracy, dict)
        assert accuracy["source"] == "labels"
        assert accuracy["lower"] < DOMAINS[name] <= accuracy["upper"] + 1e-9
    assert main(["watch", "replay"]) == 0
    assert main(["retrain", "audit", "--verify"]) == 0
    assert main(["label", "queue", "--images", "60", "--out", str(tmp_path / "no.csv")]) == 0
    assert "0 drawn" in capsys.readouterr().err
