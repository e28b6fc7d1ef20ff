from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.fault_traffic import CLIENTS, Reply, difference
from benchmarks.serving_faults import Found, Trial, all_trials, print_table, run


def found(**changes: object) -> Found:
    values: dict[str, object] = {
        "trial": Trial("disk full", lambda _: None, may_break=0),  # type: ignore[arg-type,return-value]  # not run
        "replies": [Reply("1", 200, ""), Reply("2", 200, "")],
        "missing": 0,
        "dropped": Counter(),
        "settled_s": 1.0,
        "recovers": True,
        "said": (),
    }
    return Found(**(values | changes))  # type: ignore[arg-type]  # test values


def test_nothing_lost_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_table([found()]) == 0
    assert "| disk full | 2 | 2 | 0 | 2 | 0 | 0 | 1.0 | yes |" in capsys.readouterr().out


def test_what_is_counted_and_said_may_be_lost() -> None:
    assert print_table([found(missing=1, dropped=Counter(queue_full=1), said=("said",))]) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"missing": 1},
        {"missing": 2, "dropped": Counter(queue_full=1), "said": ("said",)},
        {"dropped": Counter(queue_full=1)},
        {"replies": [Reply("1", 0, "reset")]},
        {"replies": [Reply("1", 500, "500")]},
        {"recovers": False},
    ],
    ids=["uncounted", "half counted", "not said", "connection", "wrong", "no recovery"],
)
def test_broken_promises_end_with_1(changes: dict[str, object]) -> None:
    assert print_table([found(**changes)]) == 1


def test_an_answer_of_another_class_is_wrong() -> None:
    assert difference(200, b'{"class": "a", "confidence": 0.5}', ("a", 0.5)) == ""
    assert "instead of" in difference(200, b'{"class": "b", "confidence": 0.5}', ("a", 0.5))
    assert difference(503, b"", ("a", 0.5)).startswith("503")


def test_a_disk_is_filled_only_where_it_is_the_homes_own() -> None:
    large, small = (all_trials(is_small=is_small) for is_small in (False, True))
    assert {t.name for t in small} - {t.name for t in large} == {
        "disk full",
        "disk full, worker killed",
    }
    assert {t.may_break for t in small} == {0, CLIENTS}


@pytest.mark.slow
def test_a_killed_worker_is_accounted_for(tmp_path: Path) -> None:
    trials = [trial for trial in all_trials(is_small=False) if trial.name == "worker killed"]
    (row,) = run(tmp_path, trials, seconds=1.0)
    assert not row.problems
    assert len(row.replies) > 20
