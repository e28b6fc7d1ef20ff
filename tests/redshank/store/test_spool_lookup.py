from __future__ import annotations

from pathlib import Path

import orjson

from redshank.events import EventWriter
from redshank.store.spool_lookup import find_events
from tests.examples import make_event

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_answers_are_found_in_order_of_time_by_whoever_wrote_them(tmp_path: Path) -> None:
    with EventWriter(tmp_path, "w0") as writer:
        writer.append(
            [
                make_event(image_sha256=A, received_at=30.0, version="b2"),
                make_event(image_sha256=C, received_at=31.0),
                make_event(image_sha256=B, received_at=32.0, outcome="overloaded", class_index=-1),
            ]
        )
    with EventWriter(tmp_path, "w1") as writer:
        event = make_event(image_sha256=A, received_at=10.0, version="b1")
        writer.append_texts([orjson.dumps(vars(event)).decode()])
    found = find_events(tmp_path, {A, B})
    assert [(event.image_sha256, event.version) for event in found] == [(A, "b1"), (A, "b2")]


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    assert find_events(tmp_path / "none", {A}) == []
    (tmp_path / "w0-1.db").write_bytes(b"no database at all" * 100)
    (tmp_path / "w1-1.db").touch()
    with EventWriter(tmp_path, "w2") as writer:
        writer.append([make_event(image_sha256=A)])
    with EventWriter(tmp_path, "w3") as writer:
        writer.append_texts([f'{{"image_sha256":"{A}", torn'])
    assert len(find_events(tmp_path, {A})) == 1
    assert find_events(tmp_path, set()) == []
