"""The parts of a training as the settings ask for them: network, views, FixCLR, teacher."""

from __future__ import annotations

from pathlib import Path

import torch

from redshank.nn import BASE_METHODS, FixCLRLoss, Rule
from redshank.nn.backbones import Backbone, build_backbone
from redshank.nn.mixstyle import add_mixstyle
from redshank.settings import TrainingSettings

from .data import UNKNOWN, TrainingData
from .style import StyleShares
from .teacher import Teacher
from .views import Views


def initial_model(data: TrainingData, settings: TrainingSettings) -> Backbone:
    """The network with seeded random weights; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = build_backbone(
            settings.backbone,
            len(data.classes),
            width=settings.width,
            weights=Path(settings.weights) if settings.weights else None,
            head=settings.head,
            image_size=settings.image_size,
        )
    if settings.mixstyle:
        add_mixstyle(model.features, settings.mixstyle)
    return model


def views_of(settings: TrainingSettings) -> Views:
    """The views that the settings ask for."""
    style = settings.style
    return Views(
        flip=settings.horizontal_flip,
        colour_jitter=settings.colour_jitter,
        style=StyleShares(
            fourier=style.fourier,
            channel_statistics=style.channel_statistics,
            random_convolution=style.random_convolution,
            texture=style.texture,
        ),
        style_labelled=style.labelled,
        strong_labelled=settings.labelled_view == "strong",
        labelled_pairs=settings.method == "defixmatch",
    )


def fixclr_of(settings: TrainingSettings, embedding_dim: int) -> FixCLRLoss:
    """The repel-only term; a projection head gets seeded random weights."""
    chosen = settings.fixclr
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return FixCLRLoss(
            tau=chosen.temperature,
            negatives=chosen.negatives,
            attract=chosen.attract,
            per_class=chosen.per_class,
            queue_size=chosen.queue,
            embedding_dim=embedding_dim,
            projection_dim=chosen.projection,
        )


def teacher_of(
    data: TrainingData,
    settings: TrainingSettings,
    *,
    steps: int,
    num_images: int,
    device: torch.device,
) -> Teacher:
    """The base method with its averages; `num_images` as `Batches` counts unlabelled ones."""
    label_N = data.label_N[torch.from_numpy(data.all_labelled())]
    count_C = torch.bincount(label_N[label_N != UNKNOWN], minlength=len(data.classes)).float()
    adaptive, cap = settings.adaptive, settings.target.class_cap
    return Teacher(
        BASE_METHODS[settings.method],
        Rule(
            threshold=settings.fixmatch.threshold,
            floor=adaptive.floor,
            momentum=adaptive.momentum,
            debias=adaptive.debias,
        ),
        label_share_C=count_C / count_C.sum().clamp_min(1.0),
        num_domains=len(data.domains),
        num_images=num_images,
        alignment=settings.alignment,
        warm_up_steps=round(adaptive.warm_up_share * steps),
        target_domains=tuple(data.domains.index(domain) for domain in data.target_domains),
        class_cap=cap,
        device=device,
    )
