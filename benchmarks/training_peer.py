"""The usual way to make the views of FixMatch: one image at a time, in a DataLoader's workers.

torchvision's v2 transforms as their documentation composes them: random crop of the padded image,
RandAugment, random erasing. Images are decoded already, which favours this way: only the making
of views is compared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2

from redshank.nn.backbones import Backbone
from redshank.settings import TrainingSettings
from training.batches import Batch
from training.data import TrainingData

Form = Literal["pil", "tensor"]
EVER = 10**9
"""Draws of a sampler: more than any run takes."""


class ViewsOfOne(Dataset[tuple[Any, ...]]):
    """(weak, strong, label, domain) of an unlabelled image, (weak, label, domain) of a labelled."""

    def __init__(self, data: TrainingData, numbers: list[int], *, form: Form, strong: bool) -> None:
        self.labels = data.label_N[numbers]
        self.domains = torch.from_numpy(data.domain_N[numbers])
        images_NHW3 = data.images_NHW3[torch.tensor(numbers)]
        self.images: list[Any] = (
            [Image.fromarray(image.numpy()) for image in images_NHW3]
            if form == "pil"
            else list(images_NHW3.permute(0, 3, 1, 2).contiguous())
        )
        side = images_NHW3.shape[1]
        crop = v2.RandomCrop(side, padding=round(side / 8), padding_mode="edge")
        finish: list[Any] = [v2.ToDtype(torch.float32, scale=True)]
        if form == "pil":
            finish = [v2.ToImage(), *finish]
        self.weak = v2.Compose([crop, *finish])
        self.strong = v2.Compose(
            [crop, v2.RandAugment(2, magnitude=10), *finish, v2.RandomErasing(1.0, value=0.5)]
        )
        self.with_strong = strong

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        image, known = self.images[number], (self.labels[number], self.domains[number])
        if self.with_strong:
            return (self.weak(image), self.strong(image), *known)
        return (self.weak(image), *known)


class LoaderBatches:
    """Has the `batch(step)` of `training.batches.Batches`; takes what the workers have ready."""

    def __init__(
        self, data: TrainingData, *, labelled: int, unlabelled: int, form: Form, workers: int
    ) -> None:
        known = [int(n) for numbers in data.labelled_indices().values() for n in numbers]
        every = [
            int(n)
            for numbers in data.unlabelled_indices(data.source_domains).values()
            for n in numbers
        ]
        self._labelled, self._unlabelled = (
            _endless(ViewsOfOne(data, numbers, form=form, strong=strong), size, workers)
            for numbers, strong, size in ((known, False, labelled), (every, True, unlabelled))
        )

    def batch(self, _step: int) -> Batch:
        """The next batch."""
        x_L3HW, label_L, domain_L = next(self._labelled)
        weak_U3HW, strong_U3HW, label_U, domain_U = next(self._unlabelled)
        none_U = torch.zeros_like(label_U)  # only methods that remember single images read it
        return Batch(
            x_L3HW, label_L, weak_U3HW, strong_U3HW, label_U, domain_L, domain_U, image_U=none_U
        )


class PlainLoop:
    """FixMatch as its public implementations write it: all views in one pass, weights averaged.

    The same network, optimiser and number of views as redshank's step; default memory layout.
    """

    def __init__(self, model: Backbone, feed: LoaderBatches, settings: TrainingSettings) -> None:
        self.model, self.feed, self.threshold = model.train(), feed, settings.fixmatch.threshold
        self.average, self.decay = copy.deepcopy(model), settings.ema_decay
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=settings.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )

    def advance(self) -> None:
        """One step."""
        batch = self.feed.batch(0)
        views = [batch.labelled_L3HW, batch.weak_U3HW, batch.strong_U3HW]
        logits_BC = self.model(torch.cat(views))[0]
        logits_LC, weak_UC, strong_UC = logits_BC.split([len(view) for view in views])
        confidence_U, target_U = weak_UC.detach().softmax(1).max(1)
        mask_U = (confidence_U >= self.threshold).float()
        loss_U = functional.cross_entropy(strong_UC, target_U, reduction="none")
        loss = functional.cross_entropy(logits_LC, batch.label_L) + (mask_U * loss_U).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            new = self.model.state_dict()
            for name, old in self.average.state_dict().items():
                old.copy_(old * self.decay + new[name] * (1.0 - self.decay))
        if not loss.isfinite():
            raise ValueError("the loss is not finite")


def _endless(dataset: ViewsOfOne, size: int, workers: int) -> Iterator[list[Tensor]]:
    loader: DataLoader[tuple[Any, ...]] = DataLoader(
        dataset,
        batch_size=size,
        sampler=RandomSampler(dataset, replacement=True, num_samples=EVER),
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return iter(loader)
