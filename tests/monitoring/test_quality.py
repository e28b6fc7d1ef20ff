from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from monitoring.quality import DIGITS, REMEMBERED, Health, inspect
from redshank.events import Event, EventWriter
from redshank.store.monitor_rows import Defects
from tests.monitoring.field import START, Site, Station, event, site_events, write_spool


def picture(n: int, **changes: object) -> Event:
    return event("gate", START + n, **{"image_sha256": f"{n:064x}"[::-1], **changes})


def test_even_repeated_and_undecodable_images_are_no_evidence() -> None:
    bad = {"class_index": -1, "image_sha256": ""}
    events = [
        picture(0),
        picture(1, brightness_spread=0.004),
        picture(2, image_sha256=picture(0).image_sha256),
        picture(3, outcome="invalid_image", **bad),
        picture(4, outcome="overloaded", **bad),  # the server's doing
        picture(5),
    ]
    found = inspect(events)
    assert found.usable == (events[0], events[5])
    assert found.defects == Defects(undecodable=1, even=1, repeated=1)
    again = inspect([picture(5), picture(6)], found.seen)
    assert again.usable == (picture(6),)


def test_a_digest_is_forgotten_when_enough_others_came() -> None:
    seen = inspect([picture(n) for n in range(REMEMBERED + 1)]).seen
    assert len(seen) == REMEMBERED
    assert len(seen[0]) == DIGITS
    assert inspect([picture(0)], seen).defects == Defects()
    assert inspect([picture(1)], seen).defects == Defects(repeated=1)


def test_images_without_digest_or_hash_are_taken_as_they_are() -> None:
    events = [picture(n, image_sha256="", dhash="", brightness_spread=0.0) for n in range(3)]
    assert inspect(events).usable == tuple(events)


def test_a_share_complains_only_when_it_is_large_and_of_enough_images() -> None:
    health = Health()
    health.add(5, Defects(undecodable=5), keep=0.9)
    assert health.complaint == ""
    health.add(20, Defects(undecodable=7, even=3), keep=0.9)
    assert health.complaint == (
        "Look at the camera: of its recent images 32% cannot be decoded, 8% are of one even colour."
    )
    for _ in range(20):
        health.add(40, Defects(), keep=0.9)
    assert health.complaint == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outcome": "invalid_image", "class_index": -1}, "cannot be decoded"),
        ({"brightness_spread": 0.0}, "are of one even colour"),
        ({"image_sha256": "f" * 64}, "are files that came before"),
    ],
)
def test_a_camera_that_breaks_is_no_reason_to_retrain(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    station = Station(tmp_path, now_s=START + 45)
    broken = Site("gate", 25, spread=0.4, per_tick=20)
    with EventWriter(station.spool, "w") as writer:
        for n, one in enumerate(site_events(broken, 45)):
            late = one.received_at >= START + 25
            writer.append([dataclasses.replace(one, **changes) if late and n % 2 else one])  # type: ignore[arg-type]  # any field
    evaluator = station.evaluator()
    evaluator.pass_once()
    (row,) = evaluator.answering_rows()
    assert row.state == "unknown"
    assert words in row.sentence
    assert row.sentence.endswith("nothing is trained on it.")
    assert station.triggers == []
    assert [a for a in station.store.alarms() if a.kind == "degraded"] == []


def test_defects_are_kept_with_the_windows(tmp_path: Path) -> None:
    station = Station(tmp_path, now_s=START + 3)
    write_spool(station.spool, [Site("home")], 1)
    with EventWriter(station.spool, "late") as writer:
        writer.append([event("home", START + 1.5, outcome="invalid_image", class_index=-1)])
    station.evaluator().pass_once()
    assert [w.defects.undecodable for w in station.store.windows()] == [0, 1]
