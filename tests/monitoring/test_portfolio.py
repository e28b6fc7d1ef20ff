from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from monitoring.portfolio import strictness
from tests.monitoring.field import PLAN, START, Site, Station, write_spool


def naive_alarms(surplus: list[float]) -> set[int]:
    """e-BH as the paper writes it: e-values e = 10^surplus / alpha, level alpha."""
    e = [10**s for s in surplus]
    ranked = sorted(range(len(e)), key=lambda d: -e[d])
    best = max((k for k in range(1, len(e) + 1) if e[ranked[k - 1]] >= len(e) / k), default=0)
    return set(ranked[:best])


def test_the_rule_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        surplus = list(rng.normal(0.0, 1.5, rng.integers(1, 12)))
        needed = strictness(surplus)
        assert {d for d, s in enumerate(surplus) if s >= needed} == naive_alarms(surplus)


def test_a_lone_domain_among_many_needs_more_and_company_helps() -> None:
    calm = [-5.0] * 99
    assert strictness([3.0, *calm]) == pytest.approx(2.0)
    assert strictness([1.5] * 50 + calm) == pytest.approx(math.log10(149 / 50))
    assert strictness([]) == 0.0
    assert strictness([-math.inf] * 10) == pytest.approx(1.0)


def test_the_fleets_promise_asks_each_domain_for_more(tmp_path: Path) -> None:
    sites = [Site(f"s{n}") for n in range(9)] + [Site("fog", 20, spread=0.25)]
    thresholds = {}
    for promise in ("domain", "fleet"):
        plan = dataclasses.replace(PLAN, promise=promise)
        station = Station(tmp_path / promise, plan=plan, now_s=START + 30)
        write_spool(station.spool, sites, 30)
        evaluator = station.evaluator()
        evaluator.pass_once()
        (alarm,) = [a for a in evaluator.open_alarms if a.kind == "degraded"]
        assert alarm.key.domain == "fog"
        thresholds[promise] = alarm.evidence.threshold
        assert alarm.evidence.confidence >= alarm.evidence.threshold
    assert thresholds["fleet"] - thresholds["domain"] == pytest.approx(1.0)
