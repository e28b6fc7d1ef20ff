from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.serving_load import write_network
from benchmarks.swap_under_load import BROKEN, Kind, Moved, break_bundle, draw_kinds, not_taken
from redshank.errors import InputError, IntegrityError
from redshank.infer import load_model

ERRORS: dict[Kind, type[Exception]] = {"missing folder": InputError}


@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind != "torn"])
def test_every_broken_bundle_is_broken(tmp_path: Path, kind: Kind) -> None:
    good, bad = tmp_path / "20261122T090000-aaaaaa", tmp_path / "20261122T110000-cccccc"
    write_network(good, word="a")
    break_bundle(good, bad, kind)
    with pytest.raises(ERRORS.get(kind, IntegrityError)):
        load_model(bad).self_test()
    load_model(good).self_test()


def test_half_of_the_releases_are_broken_in_every_way() -> None:
    counts = Counter(draw_kinds(40, seed=1))
    assert counts["good"] == 20
    assert {counts[kind] for kind in BROKEN} == {4}
    assert draw_kinds(40, seed=1)[-1] == "good"
    assert draw_kinds(40, seed=1) != draw_kinds(40, seed=2)


def test_a_good_release_must_answer_before_the_next_move() -> None:
    moves = [Moved(1.0, "good", "a"), Moved(2.0, "torn", "a"), Moved(3.0, "good", "b")]
    assert not_taken([(1.5, "a"), (3.5, "b")], moves) == 0
    assert not_taken([(1.5, "x"), (2.5, "a"), (3.5, "b")], moves) == 1
    assert not_taken([], moves) == 2
