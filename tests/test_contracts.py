"""Every contract has a frozen example in tests/golden: reading and writing it changes no byte.

After a wanted change of a contract: `python tests/test_contracts.py` writes the examples anew, and
the diff shows what others will meet.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redshank import bundle, dataset, events, healing, http_api, registry, run, trigger
from redshank.errors import InputError, SchemaError
from redshank.records import as_dict, from_dict

GOLDEN = Path(__file__).parent / "golden"
DIGEST = "ab" * 32

ITEM = dataset.Item(
    path="syn/7/0001.png",
    domain="syn",
    label="7",
    split="train",
    sha256=DIGEST,
    captured_at="2026-11-22T09:00:00.000Z",
    scene="cam1-17",
)
HEADER = dataset.Header(dataset.SCHEMA, ".", ("6", "7"))
RUN = run.Run(
    schema=run.SCHEMA,
    run_id="20261122T090000-4f1c9a",
    created_at="2026-11-22T09:00:00.000Z",
    code_version="0.1.0",
    seed=0,
    steps=2000,
    device="cpu",
    seconds=81.5,
    parent=None,
    data_sha256=DIGEST,
    classes=("6", "7"),
    source_domains=("mnist", "syn"),
    target_domains=("harbour",),
    backbone=run.BackboneSpec("small_cnn", 32, 128, 32),
    temperature=run.Temperature(1.7, "held_out", 500, 0.9, 0.6),
    metrics=(run.DomainMetrics("syn", "source", "val", 500, 0.91, 0.03, 0.97, 0.8),),
    settings={"steps": 2000, "fixclr": {"weight": 0.1}},
    files={"model.safetensors": DIGEST},
)
BUNDLE = bundle.Bundle(
    schema=bundle.SCHEMA,
    bundle_id="20261122T091500-7f3a01",
    model="default",
    created_at="2026-11-22T09:15:00.000Z",
    input=bundle.InputSpec(32, 32),
    classes=("6", "7"),
    source_domains=("mnist", "syn"),
    target_domains=("harbour",),
    temperature=1.7,
    temperature_fitted_on="held_out",
    abstain_below=0.5,
    embedding_dim=128,
    parity=bundle.Parity(
        256,
        1e-6,
        1e-6,
        1e-7,
        1.0,
        1e-4,
        (bundle.ParityRow("domain syn", 128, 1e-6, 1e-6, 1e-7, 1.0),),
    ),
    domains=(bundle.DomainReport("syn", "source", 500, 0.91, 0.03),),
    provenance=bundle.Provenance(
        "20261122T090000-4f1c9a", None, "0.1.0", DIGEST, "2.15.0", "1.23.2", 20
    ),
    files={"model.onnx": DIGEST, "model.int8.onnx": DIGEST},
    artefacts=(
        bundle.Artefact(
            "int8",
            *bundle.precision_files("int8"),
            1.68,
            0.02,
            (bundle.PrecisionRow("syn", 500, 500, 0.91, 0.908, 0.996, 0.87, 0.871, 0.012, 0.03),),
        ),
    ),
)
RELEASE = registry.Release(
    schema=registry.SCHEMA,
    model="default",
    revision=3,
    live="20261122T091500-7f3a01",
    previous="20261121T091500-000001",
    shadow=None,
    canary=registry.Canary("20261122T120000-abcdef", ("harbour",), 0.1),
    updated_at="2026-11-22T12:00:00.000Z",
    actor="retraining",
    reason="healing 20261122T110000-123456",
)
EVENT = events.Event(
    schema=events.SCHEMA,
    event_id="20261122T090001-000001",
    received_at=1795338001.25,
    domain="harbour",
    model="default",
    version="20261122T091500-7f3a01",
    role="live",
    outcome="ok",
    class_index=7,
    confidence=0.93,
    margin=0.88,
    novelty=0.41,
    dhash="00ff00ff00ff00ff",
    brightness_mean=0.4,
    brightness_spread=0.2,
    sequence_id="",
    client="5e884898da28",
    latency_ms=3.2,
    image_sha256=DIGEST,
    stored=True,
)
TRIGGER = dataclasses.replace(
    trigger.make_trigger(
        kind="alarm",
        model="default",
        domains=["harbour"],
        onset_at_s=1795338000.0,
        created_at_s=1795338300.0,
        actor="evaluator",
        evidence={"reason": "mean confidence fell from 0.94 to 0.71", "log10_evidence": 4.2},
    ),
    trigger_id="20261122T090500-00aa11",
)
HEALING = healing.Healing(
    schema=healing.SCHEMA,
    healing_id="20261122T090501-00bb22",
    trigger_id=TRIGGER.trigger_id,
    model="default",
    state="gates",
    updated_at="2026-11-22T09:30:00.000Z",
    attempt=1,
    champion="20261122T091500-7f3a01",
    snapshot="snapshots/20261122T090501-00bb22/manifest.jsonl",
    run="20261122T091000-4f1c9a",
    challenger="20261122T092900-cc33dd",
    gates=(
        healing.Gate(
            "source_accuracy",
            "syn",
            "pass",
            -0.004,
            -0.02,
            700,
            0.019,
            "91.0 % before, 90.6 % after; at most 2 points may be lost",
        ),
    ),
    reason="all gates are measured",
)
AUDIT = dataclasses.replace(
    (
        row := healing.AuditRow(
            schema=healing.SCHEMA,
            seq=1,
            at="2026-11-22T09:05:00.000Z",
            actor="evaluator",
            action="trigger.add",
            subject=TRIGGER.trigger_id,
            details={"kind": "alarm"},
            previous_sha256="",
            sha256="",
        )
    ),
    sha256=healing.audit_sha256(row),
)
PREDICTION = http_api.Prediction(
    request_id="r-1",
    model="default",
    version="20261122T091500-7f3a01",
    domain="harbour",
    class_name="7",
    confidence=0.93,
    abstain=False,
    top=(http_api.ClassConfidence("7", 0.93), http_api.ClassConfidence("1", 0.05)),
    latency_ms=3.2,
)
ERROR = http_api.ErrorBody(
    "invalid_image", "the PNG ends early", "Send a whole file.", "r-2", {"bytes": 120}
)
RECORDS: dict[str, Any] = {
    "dataset_header": HEADER,
    "dataset_item": ITEM,
    "run": RUN,
    "bundle": BUNDLE,
    "release": RELEASE,
    "event": EVENT,
    "trigger": TRIGGER,
    "healing": HEALING,
    "audit_row": AUDIT,
}
ANSWERS: dict[str, Callable[[], dict[str, Any]]] = {
    "http_prediction": lambda: http_api.prediction_json(PREDICTION),
    "http_error": lambda: http_api.error_json(ERROR),
    "http_errors": lambda: {code: list(value) for code, value in http_api.ERRORS.items()},
    "healing_states": lambda: {"states": list(healing.states()), "ends": sorted(healing.ENDS)},
}


def _text(values: Any) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", RECORDS)
def test_record_reads_and_writes_its_golden_example(name: str) -> None:
    stored = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    record = from_dict(type(RECORDS[name]), json.loads(stored), source=name)
    assert record == RECORDS[name]
    assert _text(as_dict(record)) == stored


@pytest.mark.parametrize("name", ANSWERS)
def test_http_answer_equals_its_golden_example(name: str) -> None:
    assert _text(ANSWERS[name]()) == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RECORDS)
def test_unknown_field_is_refused_by_name(name: str) -> None:
    values = as_dict(RECORDS[name]) | {"colour": 1}
    with pytest.raises(SchemaError, match="unknown field 'colour'"):
        from_dict(type(RECORDS[name]), values, source=name)


def test_a_bundle_of_the_schema_before_is_read(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "bundle_schema_1.json", tmp_path / bundle.BUNDLE_FILE)
    old = bundle.read_bundle(tmp_path, verify=False)
    assert (old.schema, old.artefacts, old.parity.rows) == (1, (), ())
    assert old.served("int8") == old.artefact("fp32")
    assert dataclasses.replace(BUNDLE.parity, rows=()) == old.parity


def test_a_precision_is_served_where_it_is_and_fp32_elsewhere() -> None:
    assert BUNDLE.served("int8") == BUNDLE.artefacts[0]
    assert BUNDLE.served("fp16").file == "model.onnx"
    assert BUNDLE.artefact("fp32").tolerance == pytest.approx(1e-3)
    with pytest.raises(InputError, match="no precision 'fp16', it has fp32, int8"):
        BUNDLE.artefact("fp16")


def test_event_of_a_newer_server_is_read() -> None:
    values = as_dict(EVENT) | {"colour": 1}
    assert from_dict(events.Event, values, source="event", ignore_unknown=True) == EVENT


def _write_golden() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, record in RECORDS.items():
        (GOLDEN / f"{name}.json").write_text(_text(as_dict(record)), encoding="utf-8")
    for name, answer in ANSWERS.items():
        (GOLDEN / f"{name}.json").write_text(_text(answer()), encoding="utf-8")


if __name__ == "__main__":
    _write_golden()
