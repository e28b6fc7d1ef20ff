"""The latent space of a bundle: embeddings of some images, laid out in the plane."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import RedshankError
from redshank.infer import load_model
from redshank.preprocess import decode_image
from redshank.report.figures import UNKNOWN

Floats = npt.NDArray[np.float64]

PERPLEXITY = 30.0
FEWEST = 90
"""Images from which a layout says anything."""


@dataclass(frozen=True)
class Latent:
    """N images in the plane."""

    points_N2: Floats
    classes: tuple[str, ...]
    """True class of each image; `unknown` where nobody knows."""
    domains: tuple[str, ...]


def latent_space(
    bundle: Path, manifests: Sequence[Path], *, per_domain: int, seed: int = 0
) -> Latent | None:
    """Embed images of every domain and lay them out.

    Args:
        bundle: the model's folder.
        manifests: where images come from; files that are gone or broken are passed over.
        per_domain: images taken of each domain, evenly over the manifest's order.
        seed: of the layout.

    Returns:
        None when there are too few images.
    """
    model = load_model(bundle)
    size = model.bundle.input
    images, items = [], []
    for manifest in (read_manifest(path) for path in manifests):
        for item in _choose(manifest, per_domain):
            try:
                images.append(decode_image(manifest.read_image(item), size.height, size.width))
            except (OSError, RedshankError):
                continue
            items.append(item)
    if len(images) < FEWEST:
        return None
    embedding_NE = model.predict(np.stack(images)).embedding_NE
    return Latent(
        lay_out(embedding_NE, seed=seed),
        tuple(item.label or item.hidden_label or UNKNOWN for item in items),
        tuple(item.domain for item in items),
    )


def lay_out(embedding_NE: npt.NDArray[np.floating], *, seed: int = 0) -> Floats:
    """Points in the plane by t-SNE, at least `FEWEST`.

    Van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008; perplexity 30, started
    from the principal components. Distances between far groups mean nothing in it.
    """
    from sklearn.manifold import TSNE

    layout = TSNE(2, perplexity=PERPLEXITY, init="pca", random_state=seed, max_iter=500)
    points_N2: Floats = layout.fit_transform(embedding_NE).astype(np.float64)
    return points_N2


def _choose(manifest: Manifest, per_domain: int) -> list[Item]:
    """Held-out images where a domain has some, else training images."""
    by_domain: dict[str, list[Item]] = defaultdict(list)
    for item in manifest.items:
        by_domain[item.domain].append(item)
    chosen = []
    for items in by_domain.values():
        held = [item for item in items if item.split != "train"] or items
        places = np.unique(np.linspace(0, len(held) - 1, per_domain).astype(int))
        chosen += [held[place] for place in places]
    return chosen
