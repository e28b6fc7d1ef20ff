"""The batch of a step: labelled images, unlabelled ones of source domains, and field images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from .data import TrainingData
from .sampler import DomainBatches, Indices
from .views import Views


@dataclass(frozen=True)
class Batch:
    """Views of one step on the device. L labelled and U unlabelled images."""

    labelled_L3HW: Tensor
    label_L: Tensor
    weak_U3HW: Tensor
    strong_U3HW: Tensor
    report_label_U: Tensor
    """True classes where known (-1 elsewhere), for figures only."""
    domain_L: Tensor
    """Number of each labelled image's domain, as `TrainingData.domain_N` counts."""
    domain_U: Tensor
    image_U: Tensor
    """Which unlabelled image each row is, counted from 0 among all that can be drawn."""
    weak_L3HW: Tensor | None = None
    """Weak and strong views of the labelled images too, where asked for."""
    strong_L3HW: Tensor | None = None


class Batches:
    """Batches by number: the same seed and step give the same batch, whatever came before.

    Args:
        data: images and labels.
        labelled: images a step, spread evenly over source domains.
        unlabelled: images a step, spread evenly over source and target domains; 0 draws none.
        field_share: largest share of the unlabelled images that target domains may take.
        views: how images are changed.
        labelled_pairs: make weak and strong views of the labelled images too.
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
        views: Views,
        seed: int,
        device: torch.device,
        labelled_pairs: bool = False,
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
        drawn = [indices for pool, _ in streams[1:] for indices in pool.values()]
        self._drawable = np.unique(np.concatenate([*drawn, np.zeros(0, np.int64)]))
        self._data, self._seed, self._device = data, seed, device
        self._labelled_pairs = labelled_pairs
        self._views, self._generator = views, Generator(device)

    @property
    def num_unlabelled(self) -> int:
        """How many images the unlabelled part is drawn from."""
        return len(self._drawable)

    def batch(self, step: int) -> Batch:
        """The views of step `step` (from 0)."""
        state = np.random.SeedSequence((self._seed, step)).generate_state(1, np.uint64)[0]
        self._generator.manual_seed(int(state >> np.uint64(1)))
        labelled = self._labelled.batch(step)
        unlabelled = np.concatenate([stream.batch(step) for stream in self._unlabelled])
        domain_L, domain_U = self._domains(labelled), self._domains(unlabelled)
        images_U = self._images(unlabelled)
        images_L = self._images(labelled)
        views, generator = self._views, self._generator
        batch = Batch(
            views.labelled(images_L, domain_L, generator),
            self._data.label_N[labelled].to(self._device),
            views.weak(images_U, generator),
            views.strong(images_U, domain_U, generator),
            self._data.report_label_N[unlabelled].to(self._device),
            domain_L,
            domain_U,
            torch.from_numpy(np.searchsorted(self._drawable, unlabelled)).to(self._device),
        )
        if not self._labelled_pairs:
            return batch
        weak, strong = views.weak(images_L, generator), views.strong(images_L, domain_L, generator)
        return dataclasses.replace(batch, weak_L3HW=weak, strong_L3HW=strong)

    def _domains(self, indices: Indices) -> Tensor:
        return torch.from_numpy(self._data.domain_N[indices]).to(self._device)

    def _images(self, indices: Indices) -> Tensor:
        return self._data.images_NHW3[torch.from_numpy(indices)].to(self._device)


def field_images(data: TrainingData, unlabelled: int, field_share: float) -> int:
    """How many of a step's unlabelled images come from target domains.

    Their even share among all training domains, but no more than `field_share`.
    """
    targets, sources = len(data.target_domains), len(data.source_domains)
    return int(unlabelled * min(targets / max(1, targets + sources), field_share))
