"""A manifest as arrays: which images training may draw, with and without labels.

N images, H = W pixels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from redshank.dataset import Manifest, Split
from redshank.errors import InputError

from .images import Progress, load_images, same_files
from .streamed import StreamedImages

Indices = npt.NDArray[np.int64]

UNKNOWN = -1
MOST_MEASURED = 10_000
"""Most training images of a domain that figures and out-of-fold predictions look at: more would
take longer than the training does, and tell no more."""


@dataclass(frozen=True)
class TrainingData:
    """All images of a manifest with what is known about each."""

    classes: tuple[str, ...]
    domains: tuple[str, ...]
    """All of them; `domain_N` counts in this order."""
    source_domains: tuple[str, ...]
    target_domains: tuple[str, ...]
    images_NHW3: Tensor | StreamedImages
    """uint8; indexed by numbers of images."""
    label_N: Tensor
    """int64; -1 where training has no label."""
    report_label_N: Tensor
    """The same with hidden labels: read by figures only, never by a loss, a choice or a fit."""
    domain_N: Indices
    split_N: npt.NDArray[np.str_]

    def indices(self, domain: str, split: Split, *, labelled: bool | None = None) -> Indices:
        """Numbers of a domain's images in a split; `labelled` keeps only those with or without."""
        chosen = (self.domain_N == self.domains.index(domain)) & (self.split_N == split)
        if labelled is not None:
            chosen &= (self.label_N.numpy() != UNKNOWN) == labelled
        return np.flatnonzero(chosen)

    def labelled_indices(self) -> dict[str, Indices]:
        """Labelled training images of each source domain."""
        return {d: self.indices(d, "train", labelled=True) for d in self.source_domains}

    def all_labelled(self) -> Indices:
        """Labelled training images of all source domains."""
        return np.concatenate([np.zeros(0, np.int64), *self.labelled_indices().values()])

    def unlabelled_indices(self, domains: tuple[str, ...]) -> dict[str, Indices]:
        """Training images of each domain, used without their labels (labelled ones too)."""
        return {d: self.indices(d, "train") for d in domains}

    def measured(self, indices: Indices, limit: int = MOST_MEASURED) -> Indices:
        """At most `limit` of the images, in order: labelled ones first, the rest spread evenly."""
        if len(indices) <= limit:
            return indices
        known_N = self.label_N.numpy()[indices] != UNKNOWN
        labelled = _spread(indices[known_N], limit)
        return np.sort(
            np.concatenate([labelled, _spread(indices[~known_N], limit - len(labelled))])
        )

    def without(self, domain: str) -> TrainingData:
        """The same data where training may not see one source domain (a held-out fold)."""
        rest = tuple(one for one in self.source_domains if one != domain)
        return dataclasses.replace(self, source_domains=rest, target_domains=())


def _spread(indices: Indices, count: int) -> Indices:
    places = np.linspace(0, len(indices), min(count, len(indices)), endpoint=False)
    return indices[places.astype(np.int64)]


def load_data(
    manifest: Manifest, size: int, cache: Path, progress: Progress, *, stream_bytes: int = 0
) -> TrainingData:
    """Decodes a manifest's images and checks that training is possible.

    Args:
        manifest: read.
        size: height and width of the pixels.
        cache: file of all pixels, see `load_images`.
        progress: called with (phase, done, total).
        stream_bytes: above 0, no file is written: images are decoded when they are needed, and so
            many bytes of them stay in memory.

    Raises:
        InputError: no labelled training image, a class without any, or a broken image.
    """
    check_labels(manifest)
    images: Tensor | StreamedImages
    if stream_bytes:
        with same_files(manifest, size, cache.with_suffix(".key")):
            images = StreamedImages(manifest, size, stream_bytes)
    else:
        images = torch.from_numpy(load_images(manifest, size, cache, progress))
    items, domains = manifest.items, manifest.domains
    number = {domain: index for index, domain in enumerate(domains)}
    class_number = {name: index for index, name in enumerate(manifest.classes)} | {"": UNKNOWN}
    return TrainingData(
        classes=manifest.classes,
        domains=domains,
        source_domains=manifest.source_domains,
        target_domains=manifest.target_domains,
        images_NHW3=images,
        label_N=torch.tensor([class_number[item.label] for item in items]),
        report_label_N=torch.tensor([class_number[i.label or i.hidden_label] for i in items]),
        domain_N=np.array([number[item.domain] for item in items]),
        split_N=np.array([item.split for item in items]),
    )


def check_labels(manifest: Manifest) -> None:
    """Refuses a manifest from which no classifier of all its classes can be trained."""
    labels = {item.label for item in manifest.items if item.split == "train" and item.label}
    if not labels:
        raise InputError(
            f"none of {len(manifest.items)} images is labelled and in the split `train`",
            hint="Put labelled images into ROOT/<domain>/<class>/ and scan again.",
        )
    if len(manifest.classes) < 2:
        raise InputError(
            f"the only class is {manifest.classes[0]!r}, expected at least 2",
            hint="Add labelled images of another class and scan again.",
        )
    missing = [name for name in manifest.classes if name not in labels]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(manifest.classes)} classes have no labelled training image, "
            f"like {missing[0]!r}",
            hint="Label at least one image of each class in one domain, or drop the class.",
        )
