"""The batch of a step: labelled images, unlabelled ones of source domains, and field images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from .data import TrainingData
from .draws import Draws, Share
from .processes import Processes, current_processes
from .sampler import DomainBatches, Indices
from .style import Neighbours
from .views import Views


@dataclass(frozen=True)
class Batch:
    """One step on the device. L labelled and U unlabelled images.

    Where several processes train, views are those of this process's share; labels, domains and
    numbers are those of all.
    """

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


@dataclass(frozen=True)
class Drawn:
    """Images of one step before they become views."""

    indices: Indices
    """Of all processes."""
    share: Share
    """Which of them become views here."""
    images: Tensor
    """uint8 of the share; of all of them where images take the looks of others."""

    def own(self, device: torch.device) -> Tensor:
        """The images of the share."""
        whole = len(self.images) == self.share.total
        images = self.images[self.share.rows] if whole else self.images
        return images.to(device, non_blocking=True)


class Batches:
    """Batches by number: the same seed and step give the same batch, whatever came before.

    Args:
        data: images and labels.
        labelled: images a step, spread evenly over source domains.
        unlabelled: images a step, spread evenly over source and target domains; 0 draws none.
        field_share: largest share of the unlabelled images that target domains may take.
        views: how images are changed.
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
        self._views, self._generator = views, Generator(device)

    @property
    def num_unlabelled(self) -> int:
        """How many images the unlabelled part is drawn from."""
        return len(self._drawable)

    def batch(self, step: int, *, whole: bool = False) -> Batch:
        """The views of step `step` (from 0): of this process's share, or of the whole step."""
        return self.views(step, *self.draw(step, whole=whole))

    def draw(self, step: int, *, whole: bool = False) -> tuple[Drawn, Drawn]:
        """The labelled and unlabelled images of a step, ready for the device."""
        processes = Processes() if whole else current_processes()
        labelled = self._labelled.batch(step)
        unlabelled = np.concatenate([stream.batch(step) for stream in self._unlabelled])
        return self._drawn(labelled, processes), self._drawn(unlabelled, processes)

    def views(self, step: int, drawn_L: Drawn, drawn_U: Drawn) -> Batch:
        """What `draw` gave, as the network sees it."""
        state = np.random.SeedSequence((self._seed, step)).generate_state(1, np.uint64)[0]
        self._generator.manual_seed(int(state >> np.uint64(1)))
        views, device, data = self._views, self._device, self._data
        draws_L, draws_U = (Draws(self._generator, drawn.share) for drawn in (drawn_L, drawn_U))
        images_L, images_U = drawn_L.own(device), drawn_U.own(device)
        near_L, near_U = self._neighbours(drawn_L), self._neighbours(drawn_U)
        label_L = data.label_N[drawn_L.indices].to(device)
        report_label_U = data.report_label_N[drawn_U.indices].to(device)
        number_U = np.searchsorted(self._drawable, drawn_U.indices)
        batch = Batch(
            views.labelled(images_L, near_L, draws_L),
            label_L,
            views.weak(images_U, draws_U),
            views.strong(images_U, near_U, draws_U),
            report_label_U,
            near_L.domain_A,
            near_U.domain_A,
            torch.from_numpy(number_U).to(device),
        )
        if not views.labelled_pairs:
            return batch
        weak, strong = views.weak(images_L, draws_L), views.strong(images_L, near_L, draws_L)
        return dataclasses.replace(batch, weak_L3HW=weak, strong_L3HW=strong)

    def _drawn(self, indices: Indices, processes: Processes) -> Drawn:
        share = processes.share(len(indices))
        needed = indices if self._views.borrow else indices[share.rows]
        images = self._data.images_NHW3[torch.from_numpy(needed)]
        if self._device.type == "cuda":
            images = images.pin_memory()
        return Drawn(indices, share, images)

    def _neighbours(self, drawn: Drawn) -> Neighbours:
        domain_A = torch.from_numpy(self._data.domain_N[drawn.indices]).to(self._device)
        images = drawn.images.to(self._device, non_blocking=True) if self._views.borrow else None
        return Neighbours(images, domain_A)


def field_images(data: TrainingData, unlabelled: int, field_share: float) -> int:
    """How many of a step's unlabelled images come from target domains.

    Their even share among all training domains, but no more than `field_share`.
    """
    targets, sources = len(data.target_domains), len(data.source_domains)
    return int(unlabelled * min(targets / max(1, targets + sources), field_share))
