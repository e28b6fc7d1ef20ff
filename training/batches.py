"""The batch of a step: labelled images, unlabelled ones of source domains, and field images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from .augment import labelled_view, strong_view, weak_view
from .data import TrainingData
from .sampler import DomainBatches, Indices


@dataclass(frozen=True)
class Batch:
    """Views of one step on the device. L labelled and U unlabelled images."""

    labelled_L3HW: Tensor
    label_L: Tensor
    weak_U3HW: Tensor
    strong_U3HW: Tensor
    report_label_U: Tensor
    """True classes where known (-1 elsewhere), for figures only."""


class Batches:
    """Batches by number: the same seed and step give the same batch, whatever came before.

    Args:
        data: images and labels.
        labelled: images a step, spread evenly over source domains.
        unlabelled: images a step, spread evenly over source and target domains; 0 draws none.
        field_share: largest share of the unlabelled images that target domains may take.
        flip: mirror half of the images.
        colour_jitter: of labelled and strong views, see `labelled_view`.
        seed: of the draw and the views.
        device: where the views are made.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        labelled: int,
        unlabelled: int,
        field_share: float,
        flip: bool,
        colour_jitter: float,
        seed: int,
        device: torch.device,
    ) -> None:
        field = field_images(data, unlabelled, field_share)
        targets = data.target_domains if field else ()
        streams = (
            (data.labelled_indices(), labelled),
            (
                data.unlabelled_indices(data.source_domains if unlabelled else ()),
                unlabelled - field,
            ),
            (data.unlabelled_indices(targets), field),
        )
        self._labelled, *self._unlabelled = (
            DomainBatches(indices, size, seed=seed * len(streams) + number)
            for number, (indices, size) in enumerate(streams)
        )
        self._data, self._seed, self._device = data, seed, device
        self._flip, self._jitter = flip, colour_jitter
        self._generator = Generator(device)

    def batch(self, step: int) -> Batch:
        """The views of step `step` (from 0)."""
        state = np.random.SeedSequence((self._seed, step)).generate_state(1, np.uint64)[0]
        self._generator.manual_seed(int(state >> np.uint64(1)))
        labelled = self._labelled.batch(step)
        unlabelled = np.concatenate([stream.batch(step) for stream in self._unlabelled])
        images_U = self._images(unlabelled)
        generator, flip, jitter = self._generator, self._flip, self._jitter
        return Batch(
            labelled_view(self._images(labelled), generator, flip=flip, colour_jitter=jitter),
            self._data.label_N[labelled].to(self._device),
            weak_view(images_U, generator, flip=flip),
            strong_view(images_U, generator, flip=flip, colour_jitter=jitter),
            self._data.report_label_N[unlabelled].to(self._device),
        )

    def _images(self, indices: Indices) -> Tensor:
        return self._data.images_NHW3[torch.from_numpy(indices)].to(self._device)


def field_images(data: TrainingData, unlabelled: int, field_share: float) -> int:
    """How many of a step's unlabelled images come from target domains.

    Their even share among all training domains, but no more than `field_share`.
    """
    targets, sources = len(data.target_domains), len(data.source_domains)
    return int(unlabelled * min(targets / max(1, targets + sources), field_share))
