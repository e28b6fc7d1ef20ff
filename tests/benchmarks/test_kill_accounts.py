from __future__ import annotations

import pytest

from benchmarks.kill_accounts import (
    Failures,
    Lost,
    count_mislabelled,
    find_lost,
    outages,
    sort_failures,
    twice,
)
from benchmarks.kill_traffic import Reply


def reply(name: str, sent_at: float, *, status: int = 200, version: str = "a") -> Reply:
    return Reply(name, "gate", sent_at, sent_at + 0.01, status, version)


def test_an_outage_lasts_until_the_first_ready_after_not_ready() -> None:
    ready = [(9.0, True), (10.2, True), (11.0, False), (14.0, False), (15.0, True), (19.0, True)]
    assert outages([10.0], ready) == [(10.0, 15.0)]
    assert outages([], ready) == []


def test_the_old_workers_last_answers_are_not_the_new_server() -> None:
    ready = [(10.5, False), (10.7, True), (11.5, False), (15.0, True), (16.0, True), (18.0, True)]
    assert outages([10.0], ready) == [(10.0, 15.0)]


def test_a_server_that_never_came_back_is_away_to_the_end() -> None:
    assert outages([10.0], [(11.0, False), (20.0, False)]) == [(10.0, 20.0)]


def test_each_failure_has_one_cause() -> None:
    replies = [
        reply("ok", 1.0),
        reply("while the server was away", 12.0, status=0),
        reply("right after a worker's death", 30.5, status=0),
        reply("long after it", 33.0, status=503),
        reply("before everything", 2.0, status=500),
    ]
    found = sort_failures(replies, down=[(10.0, 15.0)], worker_kills_s=[30.0])
    assert found == Failures(server=1, worker=1, other=2)


def test_an_event_may_only_be_lost_in_the_flush_before_a_kill() -> None:
    replies = [
        reply("recorded", 29.9),
        reply("in memory", 29.19),
        reply("too old to be in memory", 25.0),
        reply("after the kill", 31.0),
        reply("never acknowledged", 29.8, status=0),
    ]
    lost = find_lost(replies, {"recorded"}, worker_kills_s=[10.0, 30.0], flush_s=1.0)
    assert (lost.in_flush, lost.other) == (1, 2)
    assert lost.oldest_s == pytest.approx(0.8)


def test_nothing_is_lost_without_a_kill() -> None:
    replies = [reply("gone", 5.0)]
    assert find_lost(replies, set(), worker_kills_s=[], flush_s=1.0) == Lost(0, 1, 0.0)
    assert find_lost(replies, {"gone"}, worker_kills_s=[], flush_s=1.0) == Lost(0, 0, 0.0)


def test_an_answer_may_not_name_a_version_before_it_was_live() -> None:
    replies = [
        reply("1", 5.0, version="a"),
        reply("2", 5.0, version="b"),
        reply("3", 9.0, version="b"),
        reply("4", 9.0, version="unheard of"),
        reply("5", 9.0, version="", status=0),
    ]
    assert count_mislabelled(replies, {"a": 0.0, "b": 7.0}) == 2


def test_twice_counts_values_not_occurrences() -> None:
    assert twice(["a", "b", "a", "a", "c", "b"]) == 2
    assert twice([]) == 0
