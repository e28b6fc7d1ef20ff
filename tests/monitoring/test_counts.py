from __future__ import annotations

import numpy as np
import pytest

from monitoring.counts import add_cells, by_stream, count_tick
from redshank.store.monitor_rows import StreamKey
from tests.monitoring.field import event


def test_events_are_grouped_by_version_and_domain_in_order() -> None:
    events = [event("a", 1.0), event("b", 2.0), event("a", 3.0, version="b2"), event("a", 4.0)]
    groups = by_stream(events, lambda e: e.domain)
    assert [e.received_at for e in groups[StreamKey("default", "b1", "a")]] == [1.0, 4.0]
    assert len(groups) == 3


def test_a_burst_is_one_scene_spread_over_its_cells() -> None:
    burst = [event("a", n * 0.1, class_index=n % 2, sequence_id="s") for n in range(4)]
    counts = count_tick(0, burst, (), num_classes=3, gap_s=2.0, distance=6)
    assert counts.scenes == 1
    assert counts.cells_CZ.sum(axis=1).tolist() == [0.5, 0.5, 0.0]
    assert counts.novelty_Q.sum() == pytest.approx(1.0)
    assert counts.counts.sum() == pytest.approx(2.0)


def test_values_that_rounding_pushed_over_the_edge_are_taken() -> None:
    odd = [
        event("a", 0.0, confidence=1.0000001, sequence_id="1"),
        event("a", 0.1, novelty=float("nan"), sequence_id="2"),
    ]
    assert count_tick(0, odd, (), num_classes=1, gap_s=2.0, distance=6).scenes == 2


def test_a_tick_of_errors_has_no_scenes_and_keeps_open_ones() -> None:
    first = count_tick(
        0, [event("a", 0.0, sequence_id="s")], (), num_classes=1, gap_s=2, distance=6
    )
    bad = event("a", 1.0, outcome="too_large", class_index=-1)
    counts = count_tick(1, [bad], first.open_scenes, num_classes=1, gap_s=2.0, distance=6)
    assert (counts.events, counts.errors, counts.scenes) == (1, 1, 0)
    assert counts.open_scenes == first.open_scenes


def test_a_class_beyond_the_bundle_makes_the_table_larger() -> None:
    counts = count_tick(0, [event("a", 0.0, class_index=4)], (), num_classes=2, gap_s=2, distance=6)
    assert counts.cells_CZ.shape == (5, 19)
    total = add_cells(np.ones((2, 19)), counts.cells_CZ)
    assert total.shape == (5, 19)
    assert total.sum() == 2 * 19 + 1
