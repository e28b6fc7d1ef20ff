"""When to kill what: drawn from a seed before the ring starts."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from .kill_processes import KINDS, Kind

STAGE_S = {"train": 8.0, "export": 8.0}
"""A stage is killed up to so long after it was first seen."""


@dataclass(frozen=True)
class Plan:
    """What one run does."""

    steady: tuple[tuple[float, Kind], ...]
    """Seconds since the beginning and kind, in order, for what always runs."""
    stages: dict[Kind, list[float]]
    """For training and export: seconds after the process was seen, one entry a kill."""


def draw_plan(kills: int, *, seconds: float, calm_s: float, seed: int) -> Plan:
    """Spread `kills` evenly over the kinds, at random moments.

    Args:
        kills: how many in all.
        seconds: length of the attack.
        calm_s: no program that always runs is killed before.
        seed: of the moments and of the kinds that get one kill more.
    """
    rng = random.Random(seed)
    order = list(KINDS)
    rng.shuffle(order)
    kinds = list(itertools.islice(itertools.cycle(order), kills))
    steady = sorted((rng.uniform(calm_s, seconds), kind) for kind in kinds if kind not in STAGE_S)
    stages: dict[Kind, list[float]] = {
        kind: [rng.uniform(0.0, STAGE_S[kind]) for k in kinds if k == kind]
        for kind in KINDS
        if kind in STAGE_S
    }
    return Plan(tuple(steady), stages)
