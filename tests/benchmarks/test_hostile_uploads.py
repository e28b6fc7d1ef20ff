from __future__ import annotations

import itertools
from collections import Counter

import pytest

from benchmarks.hostile_bodies import MAKERS, attacks
from benchmarks.hostile_sockets import wires
from benchmarks.hostile_uploads import RSS_BOUND_MIB, Seen, print_table


def test_attacks_are_of_every_kind_and_equal_for_equal_seeds() -> None:
    count = 4 * len(MAKERS)
    first, again, other = (list(itertools.islice(attacks(seed), count)) for seed in (1, 1, 2))
    assert first == again != other
    assert Counter(attack.kind for attack in first) == dict.fromkeys(MAKERS, 4)
    assert len({attack.body for attack in first}) > count / 2


def test_wires_are_of_many_kinds() -> None:
    some = list(itertools.islice(wires(0), 22))
    assert Counter(wire.kind for wire in some) == dict.fromkeys({w.kind for w in some}, 2)
    assert all(wire.pieces for wire in some)


def seen(**changes: object) -> Seen:
    found = Seen(good=3, pids={1, 2}, largest_rss_mib=10.0)
    found.add("noise", 422, b"")
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_a_clean_table_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_table(seen()) == 0
    assert "| answers to: noise | 1 x 422 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [{"pids": {1, 2, 3}}, {"wrong": ["x"]}, {"largest_rss_mib": RSS_BOUND_MIB + 1.0}],
    ids=["a worker died", "a good request failed", "too much memory"],
)
def test_harm_ends_with_1(changes: dict[str, object]) -> None:
    assert print_table(seen(**changes)) == 1


def test_an_answer_of_5xx_ends_with_1() -> None:
    found = seen()
    found.add("noise", 500, b"oops")
    assert print_table(found) == 1
    assert found.failures == ["noise: 500 b'oops'"]
