"""Accuracy without labels: how far the shipped estimate is off, beside AC, DoC, ATC and CBPE.

    python -m benchmarks.accuracy_estimates     # two minutes; trains three models first, once

Pools of answers are drawn from the proofs' sites, and from domains that a model was trained without
(`benchmarks/accuracy_pools.py`). Everybody gets the same labelled validation images of the model's
source domains, and the same calibrated confidences; the map comes from corrupted copies of those
images. "Without kin" leaves out of the fit every family of corruptions that resembles the camera of
the site, since simulator and corruptions share what cameras do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.accuracy_map import Pool as LabelledPool
from export.accuracy_map import answered, corrupted, fitted, labelled_images
from export.images import held_items, pixel_chunks
from monitoring.accuracy import AccuracyMap, estimate
from monitoring.sample import Sample
from redshank.accuracy import pool_statistics
from redshank.cells import IntArray, cell_counts, novelty_counts
from redshank.dataset import read_manifest
from redshank.infer import load_model
from redshank.onnx_session import CPU, open_session
from redshank.run import read_run

from .accuracy_pools import Fold, prepare_folds
from .accuracy_rivals import RIVALS, Validation
from .monitor_pools import HOME, NUM_CLASSES, ROOT, Pool, prepare_pools

SIZES = (200, 1000)
REPEATS = 3
IMAGES = 12_000
"""As `export.corrupted_images`."""
GOAL = 0.6
"""Of CBPE's error."""
ALERT = 0.8
"""Limit of `EstimatedAccuracyLow` in deploy/prometheus/rules.yml."""
KIN: dict[str, tuple[str, ...]] = {
    HOME: (),
    "night": ("dark", "noise", "flat", "tint"),
    "backlit": ("slope", "flat", "bright"),
    "warm_lamp": ("tint", "slope"),
    "cool_lamp": ("tint", "slope"),
    "defocus": ("blur", "smear", "coarse"),
    "shake": ("smear", "blur", "shifted"),
    "fog": ("haze", "flat", "bright"),
    "dirty_lens": ("stains", "blur", "haze"),
    "old_sensor": ("noise", "specks", "dark"),
    "cheap_codec": ("codec", "coarse"),
    "low_res": ("coarse", "blur"),
    "tilted": ("turned", "sheared", "shifted"),
    "overexposed": ("bright", "flat"),
    "infrared": ("grey", "slope", "noise"),
}
"""Kind of the simulator -> families of corruptions that do something alike."""


@dataclass(frozen=True)
class Learnt:
    """What one model's labelled validation images teach."""

    pools: tuple[LabelledPool, ...]
    validation: Validation

    def known(self, *, without: Sequence[str] = ()) -> AccuracyMap:
        """The map, from all families or without some."""
        return AccuracyMap(fitted([p for p in self.pools if p.family not in without]))


@dataclass
class Row:
    """One line of the table: errors [pools] of every estimate, and what the interval did."""

    errors: dict[str, list[float]] = field(default_factory=dict)
    kin_errors: list[float] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)
    kin_covered: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    uppers: list[float] = field(default_factory=list)
    unknown_errors: list[float] = field(default_factory=list)
    """Of the estimate where it is withheld."""

    def mean(self, name: str) -> float:
        """Mean absolute error."""
        return float(np.mean(self.errors[name]))

    def add(self, other: Row) -> None:
        """Take the pools of another line in."""
        for name, errors in other.errors.items():
            self.errors.setdefault(name, []).extend(errors)
        self.kin_errors += other.kin_errors
        self.covered += other.covered
        self.kin_covered += other.kin_covered
        self.widths += other.widths
        self.uppers += other.uppers
        self.unknown_errors += other.unknown_errors


def learn(run_dir: Path, bundle: Path, *, images: int = IMAGES) -> Learnt:
    """Corrupt the validation images of a run as export does, and ask its graph."""
    run, manifest = read_run(run_dir), read_manifest(run_dir / "manifest.jsonl")
    model, session = load_model(bundle), open_session(bundle / "model.onnx", providers=[CPU])
    size, temperature = run.backbone.image_size, run.temperature.value
    items = [held_items(manifest, domain, limit=2000) for domain in run.source_domains]
    pools = tuple(
        answered(
            session, copies, family, model.reference, temperature=temperature, classes=NUM_CLASSES
        )
        for family, copies in corrupted(labelled_images(manifest, items, size=size), limit=images)
    )
    kept = [item for chosen in items for item in chosen if item.label]
    chunks = pixel_chunks(manifest, kept, height=size, width=size)
    found = model.predict(np.concatenate(list(chunks)))
    label_N = np.array([manifest.class_index(item.label) for item in kept])
    return Learnt(pools, Validation(found.confidence_N, (found.class_N == label_N).astype(float)))


def drawn(
    rng: np.random.Generator, site: Pool, size: int, *, other_mix: bool
) -> tuple[IntArray, float]:
    """Places of the drawn answers, and the accuracy of the site at that mix of classes."""
    share_C = np.bincount(site.label_N, minlength=NUM_CLASSES) / len(site.label_N)
    mix_C = share_C
    if other_mix:
        mix_C = rng.dirichlet(np.full(NUM_CLASSES, 0.3)) * (share_C > 0)
        mix_C /= mix_C.sum()
    weight_N = mix_C[site.label_N] / share_C[site.label_N]
    weight_N /= weight_N.sum()
    accuracy = float(weight_N @ (site.class_N == site.label_N))
    return rng.choice(len(weight_N), size, p=weight_N), accuracy


def compare(
    learnt: Learnt,
    sites: Iterable[Pool],
    size: int,
    *,
    other_mix: bool = False,
    repeats: int = REPEATS,
) -> Row:
    """Every estimate on pools of so many answers from each site."""
    row = Row(errors={name: [] for name in (*RIVALS, "map")})
    whole = learnt.known()
    without = {kind: learnt.known(without=families) for kind, families in KIN.items()}
    for place, site in enumerate(sites):
        for repeat in range(repeats):
            rng = np.random.default_rng([11, size, other_mix, place, repeat])
            index, accuracy = drawn(rng, site, size, other_mix=other_mix)
            confidence_N, novelty_N = site.confidence_N[index], site.novelty_N[index]
            for name, rival in RIVALS.items():
                found = rival(learnt.validation, confidence_N)
                row.errors[name].append(abs(found - accuracy))
            cells_CZ = cell_counts(site.class_N[index], confidence_N, num_classes=NUM_CLASSES)
            sample = Sample(float(size), cells_CZ, novelty_counts(novelty_N))
            _judge(row, whole, without[site.kind], sample, accuracy)
    return row


def _judge(row: Row, whole: AccuracyMap, kin: AccuracyMap, sample: Sample, accuracy: float) -> None:
    statistics_S = pool_statistics(sample.cells_CZ.sum(axis=0), sample.novelty_Q)
    error = abs(whole.values(statistics_S)[0] - accuracy)
    row.errors["map"].append(error)
    row.kin_errors.append(abs(kin.values(statistics_S)[0] - accuracy))
    told, told_kin = estimate(whole, sample), estimate(kin, sample)
    if told.lower is None or told.upper is None:
        row.unknown_errors.append(error)
    else:
        row.covered.append(told.lower <= accuracy <= told.upper)
        row.widths.append(told.upper - told.lower)
        row.uppers.append(told.upper)
    if told_kin.lower is not None and told_kin.upper is not None:
        row.kin_covered.append(told_kin.lower <= accuracy <= told_kin.upper)


HEADER = (
    "| pools | images | " + " | ".join(RIVALS) + " | map | map without kin | map / CBPE | interval "
    "holds | without kin | mean width | unknown | the map's error there |"
)


def line(name: str, size: int, row: Row) -> str:
    """A row of the table."""
    there = f"{np.mean(row.unknown_errors):.3f}" if row.unknown_errors else ""
    cells = [
        name,
        str(size),
        *(f"{row.mean(rival):.3f}" for rival in RIVALS),
        f"**{row.mean('map'):.3f}**",
        f"{np.mean(row.kin_errors):.3f}",
        f"{row.mean('map') / row.mean('CBPE'):.2f}",
        f"{np.mean(row.covered):.1%}" if row.covered else "",
        f"{np.mean(row.kin_covered):.1%}" if row.kin_covered else "",
        f"{np.mean(row.widths):.3f}" if row.widths else "",
        f"{len(row.unknown_errors) / len(row.errors['map']):.1%}",
        there,
    ]
    return f"| {' | '.join(cells)} |"


def by_accuracy(learnt: Learnt, sites: Sequence[Pool]) -> None:
    """Print errors of whole sites by how well the model really does there."""
    names = " | ".join((*RIVALS, "map"))
    print(f"\n| accuracy | sites | {names} | median width | unknown | upper end below {ALERT} |")
    print("|" + " --- |" * (len(RIVALS) + 6))
    bands: dict[str, Callable[[float], bool]] = {
        ".9 and more": lambda a: a >= 0.9,
        ".7 to .9": lambda a: 0.7 <= a < 0.9,
        "below .7": lambda a: a < 0.7,
    }
    for name, inside in bands.items():
        chosen = [site for site in sites if inside(site.accuracy)]
        row = compare(learnt, chosen, 1000)
        means = " | ".join(f"{row.mean(rival):.3f}" for rival in (*RIVALS, "map"))
        unknown = len(row.unknown_errors) / len(row.errors["map"])
        low = np.mean(np.array(row.uppers) < ALERT)
        print(
            f"| {name} | {len(chosen)} | {means} | {np.median(row.widths):.3f} | {unknown:.1%} "
            f"| {low:.1%} of the others |",
            flush=True,
        )


def of_folds(folds: Sequence[Fold], learnt: Sequence[Learnt]) -> None:
    """Print the table of domains that a model never saw, and its means."""
    all_homes, all_cameras = Row(), Row()
    print(f"\n{HEADER}\n|" + " --- |" * (HEADER.count("|") - 1))
    for fold, taught in zip(folds, learnt, strict=True):
        for content in dict.fromkeys(site.content for site in fold.sites):
            sites = [site for site in fold.sites if site.content == content]
            trained = f"trained without {fold.left_out}" if fold.left_out else "the proofs' model"
            home = [site for site in sites if site.kind == HOME]
            name = f"{content} ({home[0].accuracy:.3f}), {trained}"
            row = compare(taught, home, 1000, repeats=20)
            print(line(f"{name}: as it is", 1000, row))
            all_homes.add(row)
            row = compare(taught, sites, 1000, repeats=1)
            print(line("the same under 14 kinds of cameras", 1000, row), flush=True)
            all_cameras.add(row)
    print(line("**all of them** as they are", 1000, all_homes))
    print(line("**all of them** under 14 kinds of cameras", 1000, all_cameras))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; exit status 1 when the goal is missed on the simulator's sites."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    folds, sites = prepare_folds(options.root), prepare_pools(options.root).sites
    learnt = [learn(fold.run, fold.bundle) for fold in folds]
    print(f"{HEADER}\n|" + " --- |" * (HEADER.count("|") - 1))
    is_met = True
    for other_mix in (False, True):
        name = "142 sites, other class mix" if other_mix else "142 sites"
        for size in SIZES:
            row = compare(learnt[0], sites, size, other_mix=other_mix)
            is_met &= row.mean("map") <= GOAL * row.mean("CBPE")
            print(line(name, size, row), flush=True)
    by_accuracy(learnt[0], sites)
    of_folds(folds, learnt)
    print(f"\nGoal (at most {GOAL} x CBPE's error on the sites): {'met' if is_met else 'missed'}.")
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main())
