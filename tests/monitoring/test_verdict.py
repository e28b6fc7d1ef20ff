from __future__ import annotations

from pathlib import Path

from monitoring.verdict import answering_rows, present_state
from redshank.store.monitor_rows import StreamKey, StreamRow
from tests.monitoring.field import START, Site, Station, write_spool


def row(domain: str, version: str, state: str = "healthy") -> StreamRow:
    key = StreamKey("default", version, domain)
    return StreamRow(key, 1, 100.0, state, "As it was.", {}, {})  # type: ignore[arg-type]  # a state


def test_a_domain_is_shown_under_the_version_that_answers_it() -> None:
    rows = [row("a", "b1"), row("a", "b2"), row("a", "b3"), row("b", "b1"), row("b", "b3")]
    shown = answering_rows(rows, lambda key: key.version == "b2")
    assert [(r.key.domain, r.key.version) for r in shown] == [("a", "b2"), ("b", "b3")]
    assert [r.state for r in shown] == ["healthy", "learning"]  # b2 has not met domain b
    assert "has seen nothing here yet" in shown[1].sentence


def test_silence_outranks_what_was_known() -> None:
    known = row("a", "b1", "degraded")
    assert present_state(known, now_s=150.0, silent_after_s=60.0) == ("degraded", "As it was.")
    state, sentence = present_state(known, now_s=161.0, silent_after_s=60.0)
    assert state == "silent"
    assert sentence == "No event since 1970-01-01T00:01:40.000Z; it was degraded."


def test_images_of_an_unknown_kind_are_unknown_and_not_degraded(tmp_path: Path) -> None:
    station = Station(tmp_path, now_s=START + 70)
    write_spool(station.spool, [Site("swamp", 30, novelty=40.0)], 70)
    evaluator = station.evaluator()
    evaluator.pass_once()
    (shown,) = evaluator.answering_rows()
    assert shown.state == "unknown"
    assert "of a kind not seen in training" in shown.sentence
    assert shown.detail["novelty_share"] > 0.8
    assert station.triggers == []
