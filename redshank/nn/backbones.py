"""Networks with one call shape: images in [0, 1] to (logits, embedding).

Shapes: B images, 3 channels, H x W pixels, C classes, D embedding features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

RESNETS = ("resnet18", "resnet34", "resnet50")
BACKBONES = ("small_cnn", *RESNETS)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        self.features = features
        self.embedding_dim = embedding_dim
        self.head = nn.Linear(embedding_dim, num_classes)
        self.register_buffer("mean_3", torch.tensor(mean))
        self.register_buffer("std_3", torch.tensor(std))
        self.recipe = {}

    def forward(self, x_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embedding of images with values in [0, 1]."""
        x_B3HW = (x_B3HW - self.mean_3[:, None, None]) / self.std_3[:, None, None]
        embedding_BD = self.features(x_B3HW)
        return self.head(embedding_BD), embedding_BD


def build_backbone(
    name: str, num_classes: int, *, width: int = 32, weights: Path | None = None
) -> Backbone:
    """Builds a network by name, with random weights unless a file of features is given.

    Args:
        name: one of `BACKBONES`. `small_cnn` is for images of about 32 px.
        num_classes: C, at least 2.
        width: channels of the first layer of `small_cnn`; ResNets have their own.
        weights: safetensors file of a torchvision ResNet's own keys (`fc.*` is ignored); never
            downloaded.

    Raises:
        ValueError: unknown name, or weights for a network that takes none.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}, expected one of {', '.join(BACKBONES)}")
    if name in RESNETS:
        model = _resnet(name, num_classes, weights)
    else:
        if weights is not None:
            raise ValueError(f"small_cnn takes no pretrained weights, got {weights}")
        widths = (width, 2 * width, 2 * width, 4 * width)
        model = Backbone(_small_cnn(widths), widths[-1], num_classes)
    model.recipe = {"name": name, "num_classes": num_classes, "width": width}
    return model


def _small_cnn(widths: tuple[int, ...]) -> nn.Sequential:
    """Four 3 x 3 convolutions, each halving the image but the last, then the mean over pixels.

    Pooling comes before BatchNorm and ReLU, which then see a quarter of the pixels.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        last = len(layers) == 4 * (len(widths) - 1)
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.Identity() if last else nn.MaxPool2d(2),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _resnet(name: str, num_classes: int, weights: Path | None) -> Backbone:
    import torchvision.models

    net = torchvision.models.get_model(name, weights=None)
    embedding_dim = int(net.fc.in_features)
    net.fc = nn.Identity()
    if weights is not None:
        from safetensors.torch import load_file

        state = {key: t for key, t in load_file(weights).items() if not key.startswith("fc.")}
        net.load_state_dict(state)
    return Backbone(net, embedding_dim, num_classes, mean=IMAGENET_MEAN, std=IMAGENET_STD)
