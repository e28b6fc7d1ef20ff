from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sampler import DomainBatches

POOLS = {"a": np.arange(5), "b": np.array([10]), "c": np.arange(20, 57)}


def test_batches_are_a_function_of_seed_and_step() -> None:
    forward = [DomainBatches(POOLS, 8, seed=1).batch(step) for step in range(20)]
    again = DomainBatches(POOLS, 8, seed=1)
    for step in reversed(range(20)):
        assert np.array_equal(again.batch(step), forward[step])
    other = [DomainBatches(POOLS, 8, seed=2).batch(step) for step in range(20)]
    assert not np.array_equal(np.concatenate(other), np.concatenate(forward))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 17), st.integers(0, 99))
def test_domains_share_equally_and_each_epoch_visits_every_image_once(
    sizes: list[int], batch_size: int, seed: int
) -> None:
    starts = np.cumsum([0, *sizes])
    pools = {str(i): np.arange(starts[i], starts[i + 1]) for i in range(len(sizes))}
    batches = DomainBatches(pools, batch_size, seed=seed)
    steps = 30
    drawn = [batches.batch(step) for step in range(steps)]
    assert all(len(batch) == batch_size for batch in drawn)
    stream = np.concatenate(drawn)
    per_domain = []
    for pool in pools.values():
        own = stream[np.isin(stream, pool)]
        per_domain.append(len(own))
        for epoch in range(len(own) // len(pool)):
            part = own[epoch * len(pool) : (epoch + 1) * len(pool)]
            assert Counter(part.tolist()) == Counter(pool.tolist())
    assert max(per_domain) - min(per_domain) <= 1


def test_an_epoch_is_shuffled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled: list[tuple[int, ...]] = []
    make = np.random.default_rng

    def counting(seed: tuple[int, ...]) -> np.random.Generator:
        shuffled.append(seed)
        return make(seed)

    monkeypatch.setattr(np.random, "default_rng", counting)
    batches = DomainBatches({"a": np.arange(100), "b": np.arange(40)}, 10, seed=3)
    for step in range(40):  # 200 images of each: 2 and 5 epochs
        batches.batch(step)
    a, b = [(3, 0, epoch) for epoch in range(2)], [(3, 1, epoch) for epoch in range(5)]
    assert sorted(shuffled) == [*a, *b]


def test_nothing_to_draw_is_an_empty_batch() -> None:
    assert DomainBatches({}, 0, seed=0).batch(3).tolist() == []


def test_impossible_requests_are_named() -> None:
    with pytest.raises(ValueError, match="'b' has no images"):
        DomainBatches({"a": np.arange(3), "b": np.arange(0)}, 4, seed=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        DomainBatches(POOLS, 0, seed=0)
