from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.field_sample import sample
from redshank.fieldstore import FieldStore


def images(count: int, *, seed: int = 0) -> dict[str, float]:
    """Digest -> when it came; some came at the same moment."""
    generator = np.random.default_rng(seed)
    return {
        hashlib.sha256(f"{seed} {number}".encode()).hexdigest(): float(generator.integers(count))
        for number in range(count)
    }


def test_the_newest_and_of_the_others_the_smallest_digests() -> None:
    received = {"d": 1.0, "c": 2.0, "b": 3.0, "a": 4.0, "e": 5.0, "f": 6.0}
    assert sample(received, 4) == {"f", "e", "a", "b"}
    assert sample(received, 3) == {"f", "e", "a"}
    assert sample(received, 1) == {"f"}
    assert sample(received, 0) == set()
    assert sample(received, 6) == sample(received, 9) == set(received)
    assert sample({"a": 1.0, "b": 1.0, "c": 1.0}, 1) == {"c"}, "one rule for the same moment"


@pytest.mark.parametrize("most", [1, 2, 7, 40])
def test_piece_by_piece_is_all_at_once(most: int) -> None:
    received = images(300)
    order = np.random.default_rng(1).permutation(list(received))
    kept: set[str] = set()
    for digest in order:
        kept = sample({name: received[name] for name in (*kept, str(digest))}, most)
    assert kept == sample(received, most)
    first, second = dict(list(received.items())[:190]), dict(list(received.items())[110:])
    both = sample(first, most) | sample(second, most)
    assert sample({digest: received[digest] for digest in both}, most) == sample(received, most)


def test_what_is_older_is_kept_evenly_over_time() -> None:
    """Chi-square over ten equal stretches of time; 27.88 is its .999 quantile with 9 degrees."""
    received = {digest: float(at) for at, digest in enumerate(images(20_000))}
    kept = sorted(received[digest] for digest in sample(received, 2_000))
    newest, older = kept[1_000:], kept[:1_000]
    assert newest == [float(at) for at in range(19_000, 20_000)]
    counts, _ = np.histogram(older, bins=10, range=(0, 19_000))
    assert ((counts - 100) ** 2 / 100).sum() < 27.88


def test_a_store_that_is_full_for_long_lets_every_new_scene_in(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    data, moments = buffer.getvalue(), {}
    for number in range(2_400):  # the first 2,000 fill the store
        if number % 600 == 0:
            store = FieldStore(tmp_path, per_domain=2_000)  # a new process
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        moments[digest] = 10.0 * number
        entered = store.add(
            "gate-1",
            data,
            sha256=digest,
            received_at=moments[digest],
            client="c",
            sequence_id=str(number),
            dhash="",
            confidence=0.5,
            novelty=0.25,
        )
        assert entered
    kept = store.images("gate-1")
    assert {image.sha256 for image in kept} == sample(moments, 2_000)
    assert len(store.images("gate-1", since_s=20_000.0)) == 400

    ranks = [image.received_at / 10 for image in kept[:1_000]]  # of the 1,400 oldest
    spread = ((1_400 + 1) * (1_400 - 1_000) / (12 * 1_000)) ** 0.5  # of a mean without replacement
    assert max(ranks) < 1_400
    assert abs(sum(ranks) / 1_000 - 699.5) < 4 * spread
