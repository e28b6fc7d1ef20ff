from __future__ import annotations

import pytest

from benchmarks.kill_processes import KINDS
from benchmarks.kill_schedule import STAGE_S, draw_plan


@pytest.mark.parametrize("kills", [1, 6, 14])
def test_kills_are_spread_over_all_kinds(kills: int) -> None:
    plan = draw_plan(kills, seconds=100, calm_s=20, seed=3)
    counts = {kind: len(delays) for kind, delays in plan.stages.items()}
    counts |= {
        kind: [k for _, k in plan.steady].count(kind) for kind in KINDS if kind not in STAGE_S
    }
    assert sum(counts.values()) == kills
    assert max(counts.values()) - min(counts.values()) <= 1


def test_moments_lie_in_the_attack_and_follow_from_the_seed() -> None:
    plan = draw_plan(60, seconds=100, calm_s=20, seed=3)
    moments = [at_s for at_s, _ in plan.steady]
    assert moments == sorted(moments)
    assert all(20 <= at_s <= 100 for at_s in moments)
    assert all(0 <= d <= STAGE_S[kind] for kind, delays in plan.stages.items() for d in delays)
    assert plan == draw_plan(60, seconds=100, calm_s=20, seed=3)
    assert plan != draw_plan(60, seconds=100, calm_s=20, seed=4)
