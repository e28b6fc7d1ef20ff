"""Networks with one call shape: images in [0, 1] to (logits, embedding).

Shapes: B images, 3 channels, H x W pixels, C classes, D embedding features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redshank.nn.feature_networks import LAST_LAYER, TIMM, build_features
from redshank.nn.heads import build_head

BACKBONES = ("small_cnn", *LAST_LAYER)
"""Known by name; `timm:NAME` is one too where timm is installed."""

SMALL_CNN_PLACES = 2
"""Rows and columns of the small network's last map; image sizes are multiples of 32 best."""


class Backbone(nn.Module):
    """Normalises images and returns logits_BC and the penultimate features embedding_BD.

    Normalisation is part of the network, so that training, export and serving cannot disagree.
    """

    mean_3: Tensor
    std_3: Tensor
    recipe: dict[str, Any]
    """The arguments that `build_backbone` needs to build it again."""

    def __init__(
        self,
        features: nn.Module,
        embedding_dim: int,
        num_classes: int,
        *,
        head: str = "linear",
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        self.features = features
        self.embedding_dim = embedding_dim
        self.head = build_head(head, embedding_dim, num_classes)
        self.register_buffer("mean_3", torch.tensor(mean))
        self.register_buffer("std_3", torch.tensor(std))
        self.recipe = {}

    def forward(self, x_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embedding of images with values in [0, 1]."""
        x_B3HW = (x_B3HW - self.mean_3[:, None, None]) / self.std_3[:, None, None]
        embedding_BD = self.features(x_B3HW)
        return self.head(embedding_BD), embedding_BD


def build_backbone(
    name: str,
    num_classes: int,
    *,
    width: int = 32,
    weights: Path | None = None,
    head: str = "linear",
    image_size: int = 224,
) -> Backbone:
    """Builds a network by name, with random weights unless a file of features is given.

    Args:
        name: one of `BACKBONES`, or `timm:NAME`. `small_cnn` is for images of about 32 px.
        num_classes: C, at least 2.
        width: channels of each layer of `small_cnn`; the others have their own.
        weights: the network's own keys as safetensors or .pth (its last layer is ignored); never
            downloaded, never unpickled beyond tensors.
        head: `linear` or `cosine`, see `redshank.nn.heads`.
        image_size: height and width, which vision transformers are built for.

    Raises:
        ValueError: unknown name, a size that the network cannot take, or weights for a network that
            takes none.
        InputError: the file holds no tensors, or those of another network.
        MissingPartError: a network of timm, which is not installed.
    """
    if name not in BACKBONES and not name.startswith(TIMM):
        raise ValueError(
            f"unknown backbone {name!r}, expected one of {', '.join(BACKBONES)}, or {TIMM}NAME"
        )
    if name == "small_cnn":
        if weights is not None:
            raise ValueError(f"small_cnn takes no pretrained weights, got {weights}")
        model = Backbone(_small_cnn(width), width * SMALL_CNN_PLACES**2, num_classes, head=head)
    else:
        found = build_features(name, image_size, weights)
        model = Backbone(
            found.module,
            found.embedding_dim,
            num_classes,
            head=head,
            mean=found.mean,
            std=found.std,
        )
    model.recipe = {"name": name, "num_classes": num_classes, "width": width}
    if head != "linear":  # files with the usual head stay readable by older code
        model.recipe["head"] = head
    if name.startswith((TIMM, "vit_")):
        model.recipe["image_size"] = image_size
    return model


def _small_cnn(width: int) -> nn.Sequential:
    """Four 3 x 3 convolutions of equal width, each halving the image, then 2 x 2 places.

    Pooling comes before BatchNorm and ReLU, which then see a quarter of the pixels. The last map
    keeps 2 x 2 places: where a stroke is tells digits apart.
    """
    layers: list[nn.Module] = []
    for channels in (3, width, width, width):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(SMALL_CNN_PLACES), nn.Flatten())
