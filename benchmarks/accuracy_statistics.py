"""Which statistics an accuracy map should use: maps of several, judged where they were not fitted.

    python -m benchmarks.accuracy_statistics     # a minute, after benchmarks.accuracy_estimates

Four judges of a map that is fitted on corrupted validation images: families of corruptions left
out, the simulator's sites, the same with other classes in the field (Dirichlet .3), and domains
that the model never saw. Statistics of *which* classes are predicted (entropy of the predicted
classes, nuclear norm) are also taken after a correction by the class mix that EM finds; its table
is made of the corrupted images of the same model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.accuracy_map import corrupted, labelled_images, ridge
from export.images import held_items
from monitoring.class_mix import SMOOTHING, estimate_mix
from redshank.accuracy import log_odds
from redshank.cells import (
    CONFIDENCE_MIDPOINTS,
    NOVELTY_MIDPOINTS,
    FloatArray,
    cell_counts,
    novelty_counts,
)
from redshank.dataset import read_manifest
from redshank.infer import load_model
from redshank.run import read_run

from .accuracy_estimates import IMAGES, drawn
from .accuracy_pools import Fold, prepare_folds
from .monitor_pools import HOME, NUM_CLASSES, ROOT, Pool, prepare_pools

MIDPOINTS = np.asarray(CONFIDENCE_MIDPOINTS)


@dataclass(frozen=True)
class Counted:
    """One pool as counts, with its accuracy."""

    family: str
    cells_CZ: FloatArray
    novelty_Q: FloatArray
    accuracy: float
    labelled_CCZ: FloatArray
    """Cells by true class."""


Statistic = Callable[[Counted], float]


def counted(pool: Pool, family: str = "") -> Counted:
    """Counts of a whole pool."""
    labelled = [
        cell_counts(
            pool.class_N[pool.label_N == c],
            pool.confidence_N[pool.label_N == c],
            num_classes=NUM_CLASSES,
        )
        for c in range(NUM_CLASSES)
    ]
    labelled_CCZ = np.stack(labelled)
    novelty_Q = novelty_counts(pool.novelty_N)
    return Counted(family, labelled_CCZ.sum(axis=0), novelty_Q, pool.accuracy, labelled_CCZ)


def with_other_classes(pool: Pool, rng: np.random.Generator) -> Counted:
    """A thousand answers with other classes, and the site's accuracy at that mix."""
    index, accuracy = drawn(rng, pool, 1000, other_mix=True)
    classes = pool.label_N[index], pool.class_N[index]
    found = counted(Pool("", HOME, 0.0, *classes, pool.confidence_N[index], pool.novelty_N[index]))
    return Counted("", found.cells_CZ, found.novelty_Q, accuracy, found.labelled_CCZ)


def confidence(pool: Counted) -> float:
    """Mean confidence."""
    return float(log_odds(pool.cells_CZ.sum(axis=0) @ MIDPOINTS / pool.cells_CZ.sum()))


def rank(pool: Counted) -> float:
    """Mean novelty rank."""
    return float(log_odds(pool.novelty_Q @ np.asarray(NOVELTY_MIDPOINTS) / pool.novelty_Q.sum()))


def far(pool: Counted) -> float:
    """Share beyond the 95 % novelty quantile."""
    return float(log_odds(pool.novelty_Q[-1] / pool.novelty_Q.sum()))


def thresholded(bins_Z: FloatArray, accuracy: float) -> Statistic:
    """ATC on bins: the share above the threshold that is right on clean validation images."""
    above_Z = 1 - np.cumsum(bins_Z) / bins_Z.sum()
    cut = int(np.searchsorted(-above_Z, -accuracy))
    return lambda pool: float(
        log_odds(pool.cells_CZ.sum(axis=0)[cut + 1 :].sum() / pool.cells_CZ.sum())
    )


def entropy(pool: Counted) -> float:
    """Entropy of the predicted classes, as a share of the most."""
    share_C = pool.cells_CZ.sum(axis=1) / pool.cells_CZ.sum()
    part = -(share_C * np.log(np.maximum(share_C, 1e-12))).sum() / np.log(NUM_CLASSES)
    return float(np.log(max(1.02 - part, 1e-3)))


def nuclear(pool: Counted) -> float:
    """Nuclear norm (Deng et al. 2023), of probabilities with the rest evenly on other classes."""
    weight_CZ = pool.cells_CZ / pool.cells_CZ.sum()
    rows_CZC = np.broadcast_to(
        ((1 - MIDPOINTS) / (NUM_CLASSES - 1))[None, :, None], (*weight_CZ.shape, NUM_CLASSES)
    ).copy()
    rows_CZC[np.arange(NUM_CLASSES), :, np.arange(NUM_CLASSES)] = MIDPOINTS
    gram_CC = np.einsum("kz,kzi,kzj->ij", weight_CZ, rows_CZC, rows_CZC)
    values_C = np.sqrt(np.clip(np.linalg.eigvalsh(gram_CC), 0, None))
    return float(log_odds(values_C.sum() / np.sqrt(NUM_CLASSES)))


def at_even_mix(statistic: Statistic, table_CCZ: FloatArray) -> Statistic:
    """The statistic of the cells as they would be with even classes, by EM."""
    likelihood_CX = table_CCZ.reshape(NUM_CLASSES, -1) + SMOOTHING
    likelihood_CX = likelihood_CX / likelihood_CX.sum(axis=1, keepdims=True)
    even_C = np.full(NUM_CLASSES, 1 / NUM_CLASSES)

    def corrected(pool: Counted) -> float:
        mix_C = estimate_mix(table_CCZ, pool.cells_CZ, even_C)
        joint_CX = mix_C[:, None] * likelihood_CX
        weight_X = ((joint_CX / joint_CX.sum(axis=0)) * (even_C / mix_C)[:, None]).sum(axis=0)
        cells_CZ = pool.cells_CZ * weight_X.reshape(pool.cells_CZ.shape)
        return statistic(
            Counted(pool.family, cells_CZ, pool.novelty_Q, pool.accuracy, pool.labelled_CCZ)
        )

    return corrected


def pools_of(fold: Fold) -> list[Counted]:
    """The corrupted pools of one model, as export makes them."""
    run, model = read_run(fold.run), load_model(fold.bundle)
    manifest = read_manifest(fold.run / "manifest.jsonl")
    items = [held_items(manifest, domain, limit=2000) for domain in run.source_domains]
    made = []
    domains = labelled_images(manifest, items, size=run.backbone.image_size)
    for family, part in corrupted(domains, limit=IMAGES):
        a = model.predict(part.images_NHW3)
        pool = Pool("", family, 0.0, part.label_N, a.class_N, a.confidence_N, a.novelty_N)
        made.append(counted(pool, family))
    return made


def candidates(pools: Sequence[Counted]) -> dict[str, tuple[Statistic, ...]]:
    """Statistics by name."""
    clean = [pool for pool in pools if pool.family == "none"]
    bins_Z = np.sum([pool.cells_CZ.sum(axis=0) for pool in clean], axis=0)
    atc = thresholded(bins_Z, float(np.mean([pool.accuracy for pool in clean])))
    table_CCZ = np.sum([pool.labelled_CCZ for pool in pools], axis=0)
    mixed = {s: at_even_mix(s, table_CCZ) for s in (confidence, entropy, nuclear)}
    return {
        "confidence": (confidence,),
        "ATC": (atc,),
        "far": (far,),
        "novelty rank": (rank,),
        "**confidence, far** (shipped)": (confidence, far),
        "confidence, novelty rank": (confidence, rank),
        "confidence, novelty rank, far": (confidence, rank, far),
        "ATC, far": (atc, far),
        "nuclear norm": (nuclear,),
        "nuclear norm, far": (nuclear, far),
        "confidence, far, entropy": (confidence, far, entropy),
        "the same three, class mix corrected": (mixed[confidence], far, mixed[entropy]),
        "nuclear norm, far, class mix corrected": (mixed[nuclear], far),
        "confidence, far, class mix corrected": (mixed[confidence], far),
    }


def table(pools: Sequence[Counted], chosen: Sequence[Statistic]) -> FloatArray:
    """Statistics [P, S]."""
    return np.array([[statistic(pool) for statistic in chosen] for pool in pools])


def predicted(weights_W: FloatArray, statistics_PS: FloatArray) -> FloatArray:
    """Accuracy by a map of any statistics."""
    return np.asarray(1 / (1 + np.exp(-(weights_W[0] + statistics_PS @ weights_W[1:]))))


def judged(
    pools: Sequence[Counted], chosen: Sequence[Statistic], others: Sequence[Sequence[Counted]]
) -> list[float]:
    """Mean absolute error on families left out, and on each list of other pools."""
    fitted_PS, accuracy_P = table(pools, chosen), np.array([pool.accuracy for pool in pools])
    count_P = np.array([pool.cells_CZ.sum() for pool in pools])
    right_P = accuracy_P * count_P
    target_P = np.log((right_P + 0.5) / (count_P - right_P + 0.5))
    family_P = np.array([pool.family for pool in pools])
    left_out_P = np.zeros(len(pools))
    for family in np.unique(family_P):
        out_P = family_P == family
        weights_W = ridge(fitted_PS[~out_P], target_P[~out_P])
        left_out_P[out_P] = predicted(weights_W, fitted_PS[out_P])
    weights_W = ridge(fitted_PS, target_P)
    errors = [left_out_P - accuracy_P]
    for other in others:
        errors.append(predicted(weights_W, table(other, chosen)) - [p.accuracy for p in other])
    return [float(np.abs(error).mean()) for error in errors]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    folds, sites = prepare_folds(options.root), prepare_pools(options.root).sites
    rng = np.random.default_rng(2)
    whole = [counted(site) for site in sites]
    shifted = [with_other_classes(site, rng) for site in sites for _ in range(2)]
    pools = [pools_of(fold) for fold in folds]
    homes = [[counted(s) for s in fold.sites if s.kind == HOME] for fold in folds]
    print("| statistics | families left out | 142 sites | other class mix | domains never seen |")
    print("|" + " --- |" * 5)
    for name, chosen in candidates(pools[0]).items():
        first = judged(pools[0], chosen, (whole, shifted))
        unseen = [
            judged(made, candidates(made)[name], [[home]])[1]
            for made, found in zip(pools, homes, strict=True)
            for home in found
        ]
        cells = " | ".join(f"{error:.3f}" for error in (*first, float(np.mean(unseen))))
        print(f"| {name} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
