"""200 sites for 30 days: how many raise a false alarm, and how soon the changed ones are found.

    python -m benchmarks.monitor_fleet

Ticks are hours. A site sends 5 to 2,000 images a day (log-uniform, Poisson in each hour) and has
its burn-in of 300 images. On day 15 every tenth site gets worse. All rules judge the same images; a
daily Kolmogorov-Smirnov test against the burn-in is the yardstick.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitoring.edetector import EDetector, threshold
from monitoring.portfolio import strictness
from monitoring.stream import DETECTION_SHARE
from redshank.cells import FloatArray, IntArray
from redshank.settings import MonitoringSettings

from .monitor_delay import GRADES, Grade
from .monitor_pools import ROOT, Pool, Pools, prepare_pools
from .monitor_streams import is_within, reference_null, stacked

SITES, HOURS, CHANGE = 200, 720, 360
BURN_IN = MonitoringSettings().burn_in_scenes
BUSY = 100.0
"""Images a day from which a site is called busy."""
FLEET_ALPHA = 0.2
REPLICATES = 3
PLAIN, MARGIN = "5 % a domain, margin 0", "5 % a domain, margin .01 (the default)"
FLEET = f"{FLEET_ALPHA:.0%} for the fleet (e-BH), margin 0"
RULES = {PLAIN: (0.05, 0.0), MARGIN: (0.05, 0.01), FLEET: (FLEET_ALPHA / SITES, 0.0)}
"""Alpha of the bounds, and margin. The bounds of all domains of a fleet hold together."""


@dataclass(frozen=True)
class Month:
    """What 200 sites showed."""

    per_day: FloatArray
    grades: tuple[str, ...]
    """Of each site; empty: nothing changed."""
    evidence_TR: dict[str, FloatArray]
    """log10 over the threshold of one lone domain at 5 %, by rule."""
    ks_first_R: IntArray
    """Hour of the first daily KS test with p < .05, -1 for none."""


def simulate(pools: Pools, seed: int) -> Month:
    """One month."""
    rng = np.random.default_rng([23, seed])
    homes = _homes(pools)
    home_R = [homes[n] for n in rng.integers(0, len(homes), SITES)]
    per_day = np.exp(rng.uniform(np.log(5), np.log(2000), SITES))
    grade_R: list[Grade | None] = [
        GRADES[n // 10 % len(GRADES)] if n % 10 == 0 else None for n in range(SITES)
    ]
    worse = {grade.name: _worse(pools, grade) for grade in GRADES}
    late_R = [
        home if grade is None else worse[grade.name][rng.integers(len(worse[grade.name]))]
        for home, grade in zip(home_R, grade_R, strict=True)
    ]
    references = [rng.integers(0, len(home.label_N), BURN_IN) for home in home_R]
    burn_in_RB = [
        home.counts(index[None])[0] for home, index in zip(home_R, references, strict=True)
    ]
    detectors = {
        rule: EDetector(
            stacked(
                [
                    reference_null(counts, scenes=BURN_IN, alpha=alpha, margin=margin)
                    for counts in burn_in_RB
                ]
            ),
            streams=(SITES,),
        )
        for rule, (alpha, margin) in RULES.items()
    }
    line = np.log10(threshold(HOURS, DETECTION_SHARE * 0.05))
    evidence_TR = {rule: np.full((HOURS, SITES), -np.inf) for rule in detectors}
    ks_first_R = np.full(SITES, -1)
    today: list[list[FloatArray]] = [[] for _ in range(SITES)]
    for hour in range(HOURS):
        counts_RB = np.zeros((SITES, len(burn_in_RB[0])))
        for r, n in enumerate(rng.poisson(per_day / 24)):
            pool = late_R[r] if hour >= CHANGE else home_R[r]
            if n:
                index = rng.integers(0, len(pool.label_N), n)
                counts_RB[r] = pool.counts(index[None])[0]
                today[r].append(pool.confidence_N[index])
        for rule, detector in detectors.items():
            detector.update(counts_RB, hour)
            evidence_TR[rule][hour] = np.log10(np.maximum(detector.evidence, 1e-9)) - line
        if hour % 24 == 23:
            for r, values in enumerate(today):
                if values and ks_first_R[r] < 0:
                    reference = home_R[r].confidence_N[references[r]]
                    ks_first_R[r] = hour if ks_p(np.concatenate(values), reference) < 0.05 else -1
            today = [[] for _ in range(SITES)]
    names = tuple("" if grade is None else grade.name for grade in grade_R)
    return Month(per_day, names, evidence_TR, ks_first_R)


def ks_p(first_N: FloatArray, second_M: FloatArray) -> float:
    """Asymptotic p-value of the two-sample Kolmogorov-Smirnov test."""
    grid = np.concatenate([first_N, second_M])
    below = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (first_N, second_M)]
    distance = float(np.abs(below[0] - below[1]).max())
    n = len(first_N) * len(second_M) / (len(first_N) + len(second_M))
    scaled = (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n)) * distance
    k = np.arange(1, 101)
    return float(np.clip(2 * ((-1.0) ** (k - 1) * np.exp(-2 * (k * scaled) ** 2)).sum(), 0, 1))


def first_over(evidence_TR: FloatArray, needed_T: FloatArray) -> IntArray:
    """Hour at which each site first has what is needed, -1 for never."""
    over_TR = evidence_TR >= needed_T[:, None]
    return np.where(over_TR.any(axis=0), over_TR.argmax(axis=0), -1)


def rules(month: Month) -> dict[str, IntArray]:
    """Hour of each site's first alarm under each rule."""
    still = np.zeros(HOURS)
    # the fleet's alpha instead of the domain's: that much less evidence, and e-BH's that much more
    gain = np.log10(FLEET_ALPHA / 0.05)
    together = np.array([strictness(row + gain) - gain for row in month.evidence_TR[FLEET]])
    return {
        "daily KS test, p < .05": month.ks_first_R,
        PLAIN: first_over(month.evidence_TR[PLAIN], still),
        MARGIN: first_over(month.evidence_TR[MARGIN], still),
        FLEET: first_over(month.evidence_TR[FLEET], together),
    }


def report(months: Sequence[Month]) -> bool:
    """Print the table; returns whether the promises held."""
    columns = [(g.name, busy) for g in GRADES for busy in (False, True)]
    heads = [f"{name}, {'100 a day and more' if busy else 'fewer'}" for name, busy in columns]
    print("| rule | false-alarmed sites a month | " + " | ".join(heads) + " |")
    print("|" + " --- |" * (len(heads) + 2))
    kept = True
    for rule in rules(months[0]):
        first = np.concatenate([rules(month)[rule] for month in months])
        grade = np.array([g for month in months for g in month.grades])
        busy = np.concatenate([month.per_day for month in months]) >= BUSY
        changed = grade != ""
        false = (first >= 0) & (~changed | (first < CHANGE))
        cells = []
        for name, wanted in columns:
            chosen = (grade == name) & (busy == wanted) & ~false
            days = (first[chosen & (first >= 0)] - CHANGE + 1) / 24
            when = f", {np.median(days):.1f} d" if len(days) else ""
            cells.append(f"{len(days)} of {int(chosen.sum())}{when}")
        print(f"| {rule} | {false.sum() / len(months):.1f} | {' | '.join(cells)} |")
        if rule.startswith("5 %"):
            kept &= is_within(int(false.sum()), len(first), 0.05)
    return kept


def _homes(pools: Pools) -> list[Pool]:
    """Sites on which nothing is wrong: good cameras of every kind."""
    home = pools.site("mnist")
    return [
        p
        for p in pools.sites
        if p.content == "mnist" and p.confidence_N.mean() > home.confidence_N.mean() - 0.008
    ]


def _worse(pools: Pools, grade: Grade) -> list[Pool]:
    home = float(pools.site("mnist").confidence_N.mean())
    return [
        p
        for p in pools.sites
        if p.content == "mnist" and grade.low <= home - float(p.confidence_N.mean()) < grade.high
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit status 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    pools = prepare_pools(parser.parse_args(arguments).root)
    months = [simulate(pools, seed) for seed in range(REPLICATES)]
    changed = sum(grade != "" for grade in months[0].grades)
    print(f"{REPLICATES} months of {SITES} sites; {changed} change on day {CHANGE // 24 + 1}.\n")
    return 0 if report(months) else 1


if __name__ == "__main__":
    raise SystemExit(main())
