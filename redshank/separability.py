"""How far apart classes, and domains, lie in a latent space.

A good feature space tells classes apart and domains not: its *class* figures are high, its *domain*
figures low, and what a probe learns on known domains holds on an unseen one.

N images, E features, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from redshank.dataset import Item

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

FOLDS = 5
RIDGE = 1.0
MOST_IMAGES = 2000
"""Distances are taken between all pairs: 2000 images are 32 MB of them."""


@dataclass(frozen=True)
class Separability:
    """Figures of one feature space; None where the images allow none."""

    n: int
    class_probe: float | None
    """Accuracy of a linear probe for the class, five folds, all domains together."""
    class_probe_unseen: float | None
    """The same fitted on the seen domains and measured on the unseen ones."""
    domain_probe: float | None
    """Accuracy of a linear probe for the domain, five folds."""
    domain_chance: float
    """Share of the largest domain: what the domain probe reaches by guessing."""
    class_silhouette: float | None
    """Mean silhouette of the classes, in [-1, 1]."""
    domain_silhouette: float | None
    """Mean silhouette of the domains inside each class: 0 or a little less when they overlap, 1
    when each is an island."""


def spread_images(items: Sequence[Item], most: int = MOST_IMAGES) -> list[int]:
    """Places of images with a known class: as many of each domain, evenly over its items."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        if item.label or item.hidden_label:
            places.setdefault(item.domain, []).append(place)
    each = max(1, most // max(1, len(places)))
    chosen = []
    for _, mine in sorted(places.items()):
        steps = np.linspace(0, len(mine), min(each, len(mine)), endpoint=False).astype(int)
        chosen += [mine[step] for step in steps]
    return chosen


def measure_separability(
    feature_NE: npt.NDArray[np.floating],
    classes: Sequence[str],
    domains: Sequence[str],
    unseen: Sequence[str] = (),
) -> Separability:
    """Probes and silhouettes of features scaled to length 1, as FixCLR compares them.

    Args:
        feature_NE: penultimate features.
        classes: true class of each image.
        domains: domain of each image.
        unseen: domains that training never saw.
    """
    feature_NE = _unit(feature_NE.astype(np.float64))
    class_N, domain_N = _numbers(classes), _numbers(domains)
    fold_N = _folds(class_N, domain_N)
    seen_N = np.array([domain not in set(unseen) for domain in domains], dtype=bool)
    distance_NN = _distances(feature_NE)
    return Separability(
        n=len(feature_NE),
        class_probe=_cross_validated(feature_NE, class_N, fold_N),
        class_probe_unseen=probe_accuracy(
            feature_NE[seen_N], class_N[seen_N], feature_NE[~seen_N], class_N[~seen_N]
        ),
        domain_probe=_cross_validated(feature_NE, domain_N, fold_N),
        domain_chance=float(np.bincount(domain_N).max() / len(domain_N)),
        class_silhouette=_mean(silhouettes(distance_NN, class_N)),
        domain_silhouette=_domain_silhouette(distance_NN, class_N, domain_N),
    )


def probe_accuracy(
    train_NE: Floats, train_N: Numbers, test_ME: Floats, test_M: Numbers
) -> float | None:
    """Accuracy of a linear classifier fitted by ridge regression on +-1 targets.

    Features are standardised by the training images; the intercept bears no penalty. None when
    there is nothing to test, or only one class to learn.
    """
    groups = np.unique(train_N)
    if not len(test_M) or len(groups) < 2:
        return None
    mean_E, spread_E = train_NE.mean(axis=0), train_NE.std(axis=0)
    spread_E[spread_E < 1e-12] = 1.0
    x_NE = (train_NE - mean_E) / spread_E
    y_NG = np.where(train_N[:, None] == groups, 1.0, -1.0)
    offset_G = y_NG.mean(axis=0)
    gram_EE = x_NE.T @ x_NE + RIDGE * np.eye(x_NE.shape[1])
    weight_EG = np.linalg.solve(gram_EE, x_NE.T @ (y_NG - offset_G))
    score_MG = (test_ME - mean_E) / spread_E @ weight_EG + offset_G
    return float((groups[score_MG.argmax(axis=1)] == test_M).mean())


def silhouettes(distance_NN: Floats, group_N: Numbers) -> Floats:
    """Silhouette of each image: (b - a) / max(a, b).

    a is the mean distance to the others of its group, b to the nearest other group; 0 for an image
    alone in its group, nothing at all for one group. Rousseeuw, "Silhouettes", 1987.
    """
    groups, place_N = np.unique(group_N, return_inverse=True)
    if len(groups) < 2:
        return np.zeros(0)
    member_NG = np.eye(len(groups))[place_N]
    size_G = member_NG.sum(axis=0)
    sum_NG = distance_NN @ member_NG
    rows = np.arange(len(group_N))
    own_N = size_G[place_N]
    inside_N = sum_NG[rows, place_N] / np.maximum(own_N - 1, 1)
    mean_NG = sum_NG / size_G
    mean_NG[rows, place_N] = np.inf
    outside_N = mean_NG.min(axis=1)
    largest_N = np.maximum(np.maximum(inside_N, outside_N), 1e-300)
    return np.where(own_N > 1, (outside_N - inside_N) / largest_N, 0.0)


def _domain_silhouette(distance_NN: Floats, class_N: Numbers, domain_N: Numbers) -> float | None:
    parts = []
    for one in np.unique(class_N):
        mine = np.flatnonzero(class_N == one)
        parts.append(silhouettes(distance_NN[np.ix_(mine, mine)], domain_N[mine]))
    return _mean(np.concatenate(parts)) if parts else None


def _cross_validated(feature_NE: Floats, group_N: Numbers, fold_N: Numbers) -> float | None:
    right, tested = 0.0, 0
    for fold in range(FOLDS):
        test_N = fold_N == fold
        accuracy = probe_accuracy(
            feature_NE[~test_N], group_N[~test_N], feature_NE[test_N], group_N[test_N]
        )
        if accuracy is not None:
            right += accuracy * int(test_N.sum())
            tested += int(test_N.sum())
    return right / tested if tested else None


def _folds(class_N: Numbers, domain_N: Numbers) -> Numbers:
    """Each class of each domain is dealt to the folds in turn."""
    fold_N = np.zeros(len(class_N), np.int64)
    for number in np.unique(class_N * (domain_N.max() + 1) + domain_N):
        mine = np.flatnonzero(class_N * (domain_N.max() + 1) + domain_N == number)
        fold_N[mine] = (np.arange(len(mine)) + number) % FOLDS
    return fold_N


def _unit(feature_NE: Floats) -> Floats:
    length_N1 = np.linalg.norm(feature_NE, axis=1, keepdims=True)
    scaled: Floats = feature_NE / np.maximum(length_N1, 1e-12)
    return scaled


def _distances(feature_NE: Floats) -> Floats:
    """Euclidean, between features of length 1 (or 0)."""
    square_N = (feature_NE**2).sum(axis=1)
    squared_NN = square_N[:, None] + square_N[None, :] - 2.0 * feature_NE @ feature_NE.T
    np.fill_diagonal(squared_NN, 0.0)
    distances: Floats = np.sqrt(np.maximum(squared_NN, 0.0))
    return distances


def _numbers(names: Sequence[str]) -> Numbers:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
