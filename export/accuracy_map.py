"""Accuracy without labels: maps from statistics of answers to accuracy, fitted on known harm.

Labelled validation images are corrupted in many ways; every (family x severity x source domain) is
a pool with two label-free statistics and a true accuracy. A map is a ridge regression of the log
odds of accuracy on statistics. How wrong it is with harm it has not met shows when each family is
left out in turn; those errors become the monitor's interval.

Shapes: P pools, S statistics, M maps, N images, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.accuracy import MAPS, STATISTICS, AccuracyPools, mapped_accuracy, pool_statistics
from redshank.cells import cell_counts, novelty_counts
from redshank.dataset import Item, Manifest
from redshank.infer import calibrated, novelty_rank
from redshank.onnx_session import run_session
from redshank.reference import Reference
from redshank.run import Run

from .corruptions import FAMILIES, corrupt
from .images import Pixels, pixel_chunks, scene_weights

Floats = npt.NDArray[np.float64]

SEVERITIES = (0.3, 0.55, 0.8)
POOL_IMAGES = 60
"""Most images of a pool."""
LEAST_IMAGES = 30
"""Labelled images that a domain needs for pools of its own; domains with fewer share theirs."""
DECODED_IMAGES = 240
"""Most labelled images of a domain that pools are drawn from."""
ALL_DECODED_IMAGES = 2400
"""Most of all domains together, for the sake of memory; `POOL_IMAGES` a domain in any case."""
RIDGE = 0.01
"""Strength of the ridge, a pool; statistics are scaled to unit variance."""


@dataclass(frozen=True)
class LabelledImages:
    """Decoded images of one source domain with their classes."""

    images_NHW3: Pixels
    label_N: npt.NDArray[np.int64]
    weight_N: Floats
    """1 / (images of the scene)."""

    def part(self, index_N: npt.NDArray[np.int64]) -> LabelledImages:
        """Some of them."""
        return LabelledImages(
            self.images_NHW3[index_N], self.label_N[index_N], self.weight_N[index_N]
        )


@dataclass(frozen=True)
class Pool:
    """Copies of labelled images under one family and severity, as the model answers them."""

    family: str
    statistics_S: Floats
    right: float
    """Scene-weighted right answers."""
    scenes: float


def accuracy_pools(
    session: Any,
    run: Run,
    manifest: Manifest,
    items: Mapping[str, Sequence[Item]],
    reference: Reference,
    *,
    limit: int,
) -> AccuracyPools | None:
    """The maps of one exported graph.

    Args:
        session: ONNX Runtime session of the graph.
        run: gives classes, temperature and image size.
        manifest: where the images lie.
        items: images of each domain that the network was not trained on; source domains count.
        reference: ranks novelty.
        limit: about so many corrupted images the graph is asked about, see `corrupted`; 0: none.

    Returns:
        None without `LEAST_IMAGES` labelled images, or when `limit` allows none.

    Raises:
        InputError: an image is missing or damaged.
    """
    sources = [items[domain] for domain in run.source_domains]
    domains = labelled_images(manifest, sources, size=run.backbone.image_size)
    if not domains or limit <= 0:
        return None
    temperature, classes = run.temperature.value, len(run.classes)
    pools = [
        answered(session, images, family, reference, temperature=temperature, classes=classes)
        for family, images in corrupted(domains, limit=limit)
    ]
    return fitted(pools)


def labelled_images(
    manifest: Manifest, domains: Iterable[Sequence[Item]], *, size: int
) -> list[LabelledImages]:
    """Labelled images a domain; domains with fewer than `LEAST_IMAGES` come together as one."""
    enough, rest = [], []
    for chosen in domains:
        labelled = [item for item in chosen if item.label]
        if len(labelled) >= LEAST_IMAGES:
            enough.append(labelled)
        else:
            rest += labelled
    if len(rest) >= LEAST_IMAGES:
        enough.append(rest)
    share = max(POOL_IMAGES, ALL_DECODED_IMAGES // max(len(enough), 1))
    most = min(DECODED_IMAGES, share)
    return [_decoded(manifest, group, size, most) for group in enough]


def corrupted(
    domains: Sequence[LabelledImages], *, limit: int
) -> Iterator[tuple[str, LabelledImages]]:
    """Pools to ask the model about, with the name of their family; first the images as they are.

    Where all domains under all families and severities are more than `limit`, each family and
    severity takes only some of the domains, in turn; one at least, so a small `limit` is exceeded.
    """
    kinds = [(family, severity) for severity in SEVERITIES for family in FAMILIES]
    most = max(1, limit // (POOL_IMAGES * len(kinds)))
    for domain in domains:
        yield "none", domain
    for number, (family, severity) in enumerate(kinds):
        for turn in range(min(most, len(domains))):
            place = (number + turn) % len(domains)
            domain = domains[place]
            count = min(POOL_IMAGES, len(domain.label_N))
            rng = np.random.default_rng([number, place])
            part = domain.part(rng.choice(len(domain.label_N), count, replace=False))
            copies = corrupt(part.images_NHW3, family, severity=severity, seed=place)
            yield family, LabelledImages(copies, part.label_N, part.weight_N)


def answered(
    session: Any,
    images: LabelledImages,
    family: str,
    reference: Reference,
    *,
    temperature: float,
    classes: int,
) -> Pool:
    """Ask the model about one pool."""
    logits_NC, embedding_NE = run_session(session, images.images_NHW3)
    probabilities_NC = calibrated(logits_NC, temperature)
    class_N, weight_N = probabilities_NC.argmax(axis=1), images.weight_N
    cells_CZ = cell_counts(class_N, probabilities_NC.max(axis=1), weight_N, num_classes=classes)
    novelty_Q = novelty_counts(novelty_rank(reference, embedding_NE), weight_N)
    return Pool(
        family=family,
        statistics_S=pool_statistics(cells_CZ.sum(axis=0), novelty_Q),
        right=float(weight_N @ (class_N == images.label_N)),
        scenes=float(weight_N.sum()),
    )


def fitted(pools: Sequence[Pool]) -> AccuracyPools:
    """The maps, and what maps without each pool's own family say of it."""
    statistics_PS = np.stack([pool.statistics_S for pool in pools])
    right_P = np.array([pool.right for pool in pools])
    scenes_P = np.array([pool.scenes for pool in pools])
    family_P = np.array([pool.family for pool in pools])
    # half a right and half a wrong answer more: log odds of nothing but right answers are finite
    target_P = np.log((right_P + 0.5) / (scenes_P - right_P + 0.5))
    left_out_PM = np.zeros((len(pools), len(MAPS)))
    for family in np.unique(family_P):
        inside_P = family_P == family
        kept_P = ~inside_P if not inside_P.all() else inside_P
        weights_MW = maps(statistics_PS[kept_P], target_P[kept_P])
        left_out_PM[inside_P] = mapped_accuracy(weights_MW, statistics_PS[inside_P])
    return AccuracyPools(
        statistics_PS=statistics_PS,
        true_P=right_P / scenes_P,
        left_out_PM=left_out_PM,
        weights_MW=maps(statistics_PS, target_P),
    )


def maps(statistics_PS: Floats, target_P: Floats) -> Floats:
    """Weights [M, 1 + S] of all `MAPS`; a statistic that a map does not use has the weight 0."""
    weights_MW = np.zeros((len(MAPS), 1 + len(STATISTICS)))
    for m, columns in enumerate(MAPS):
        places = [0, *(1 + column for column in columns)]
        weights_MW[m, places] = ridge(statistics_PS[:, columns], target_P)
    return weights_MW


def ridge(statistics_PS: Floats, target_P: Floats) -> Floats:
    """Intercept and weights [1 + S] of a ridge regression; the intercept is not shrunk.

    Statistics are scaled to unit variance for the fit; one that never varies gets no weight.
    """
    mean_S, spread_S = statistics_PS.mean(axis=0), statistics_PS.std(axis=0)
    spread_S = np.where(spread_S > 1e-9, spread_S, np.inf)
    scaled_PS = (statistics_PS - mean_S) / spread_S
    penalty_SS = RIDGE * len(target_P) * np.eye(len(mean_S))
    weight_S = np.linalg.solve(
        scaled_PS.T @ scaled_PS + penalty_SS, scaled_PS.T @ (target_P - target_P.mean())
    )
    weight_S = weight_S / spread_S
    return np.array([target_P.mean() - weight_S @ mean_S, *weight_S])


def accuracy_line(pools: AccuracyPools | None) -> str:
    """One line for people."""
    if pools is None:
        return (
            f"accuracy without labels: no map, it needs {LEAST_IMAGES} labelled validation images "
            "of source domains, and export.corrupted_images above 0"
        )
    error = float(np.abs(pools.left_out_PM[:, 0] - pools.true_P).mean())
    return (
        f"accuracy without labels: map of {len(pools.true_P)} pools of corrupted images, "
        f"{100 * error:.1f} points off for a kind of harm it has not met"
    )


def _decoded(manifest: Manifest, items: Sequence[Item], size: int, most: int) -> LabelledImages:
    if len(items) > most:
        drawn = np.random.default_rng(0).choice(len(items), most, replace=False)
        items = [items[i] for i in sorted(drawn)]
    chunks = list(pixel_chunks(manifest, items, height=size, width=size))
    return LabelledImages(
        images_NHW3=np.concatenate(chunks),
        label_N=np.array([manifest.class_index(item.label) for item in items], dtype=np.int64),
        weight_N=scene_weights(items),
    )
