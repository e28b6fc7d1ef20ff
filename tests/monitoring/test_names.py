from __future__ import annotations

import dataclasses
from pathlib import Path

from monitoring.names import OTHER, PROVISIONAL_SCENES, Names, Standing
from monitoring.replay import differing
from redshank.events import EventWriter
from tests.monitoring.field import PLAN, START, Site, Station, event, site_events, write_test_bundle

OLD = Standing(PROVISIONAL_SCENES, 5)


def test_a_new_name_takes_the_place_of_the_weakest_provisional_one() -> None:
    known = {"a": OLD, "b": Standing(3, 9), "c": Standing(3, 7), "d": Standing(2, 9)}
    names = Names(known, most=4)
    assert names.domain_of("d") == "d"  # heard: it stays
    assert [names.domain_of(x) for x in ("new", "a", "newer", "last")] == [
        "new",
        "a",
        "newer",
        OTHER,
    ]
    assert names.given_up == ["c", "b"]


def test_other_is_no_place_and_established_names_never_give_way() -> None:
    names = Names({"a": OLD, OTHER: Standing(1, 1)}, most=1)
    assert names.domain_of("b") == OTHER
    assert names.given_up == []


def test_a_flood_of_names_neither_grows_the_database_nor_pushes_out_a_site(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, max_domains=5)
    station = Station(tmp_path, plan=plan, now_s=START + 20)
    write_test_bundle(tmp_path / "bundles", held_out=True)
    with EventWriter(station.spool, "w") as writer:
        for tick, one in enumerate(site_events(Site("home", per_tick=1), 20)):
            writer.append([one])
            writer.append(
                event(f"flood-{tick}-{n}", START + tick + 0.6, confidence=0.3) for n in range(40)
            )
        writer.append(site_events(Site("yard"), 20))
    evaluator = station.evaluator()
    evaluator.pass_once()
    shown = {row.key.domain: row for row in evaluator.answering_rows()}
    assert {"home", "yard", OTHER} <= shown.keys()
    assert len(shown) <= 6
    assert {w.key.domain for w in station.store.windows()} == shown.keys()
    assert not any(a.key.domain.startswith("flood") for a in station.store.alarms())
    assert differing(station.store, tmp_path / "bundles", plan) == []


def test_a_new_site_says_what_it_looks_like_and_is_provisional(tmp_path: Path) -> None:
    station = Station(tmp_path, now_s=START + 2)
    write_test_bundle(tmp_path / "bundles")
    with EventWriter(station.spool, "w") as writer:
        writer.append(site_events(Site("cove"), 20))
    evaluator = station.evaluator()
    evaluator.pass_once()
    (row,) = evaluator.answering_rows()
    assert row.state == "learning"
    assert row.detail["provisional"]
    assert row.sentence.startswith("New name, provisional and without alarms for now: 20 of 150")
    assert "most like that of source domain source" in row.sentence
    assert row.detail["nearest"]["distance"] < 0.5
