from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.serving_load import write_network
from benchmarks.swap_under_load import (
    BROKEN,
    Kind,
    Moved,
    break_bundle,
    draw_kinds,
    last_old_s,
    not_taken,
)
from redshank.errors import InputError, IntegrityError
from serving.prepare import prepare_model

ERRORS: dict[Kind, type[Exception]] = {"missing folder": InputError, "other model": InputError}


@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind != "torn"])
def test_every_broken_bundle_is_broken(tmp_path: Path, kind: Kind) -> None:
    good, bad = tmp_path / "20261122T090000-aaaaaa", tmp_path / "20261122T110000-cccccc"
    write_network(good, word="a")
    break_bundle(good, bad, kind)
    with pytest.raises(ERRORS.get(kind, IntegrityError)):
        prepare_model(bad, name="default", max_batch=2)
    prepare_model(good, name="default", max_batch=2)


def test_half_of_the_releases_are_broken_in_every_way() -> None:
    counts = Counter(draw_kinds(42, seed=1))
    assert counts["good"] == 21
    assert {counts[kind] for kind in BROKEN} == {3}
    assert draw_kinds(40, seed=1)[-1] == "good"
    assert draw_kinds(40, seed=1) != draw_kinds(40, seed=2)


def test_a_good_release_must_answer_before_the_next_move() -> None:
    moves = [Moved(1.0, "good", "a"), Moved(2.0, "torn", "a"), Moved(3.0, "good", "b")]
    assert not_taken([(1.5, "a"), (3.5, "b")], moves) == 0
    assert not_taken([(1.5, "x"), (2.5, "a"), (3.5, "b")], moves) == 1
    assert not_taken([], moves) == 2


def test_the_last_old_answer_counts_good_releases_only() -> None:
    moves = [Moved(1.0, "good", "a"), Moved(2.0, "torn", "a"), Moved(3.0, "good", "b")]
    answers = [(1.2, "x"), (1.3, "a"), (2.9, "x"), (3.5, "a"), (4.0, "b")]
    assert last_old_s(answers, moves) == pytest.approx(0.5)
    assert last_old_s([(3.1, "b")], moves) == 0.0
