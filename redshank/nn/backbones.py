"""Networks with one call shape: images in [0, 1] to (logits, embedding).

Shapes: B images, 3 channels, H x W pixels, C classes, D embedding features.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redshank.errors import InputError
from redshank.nn.heads import build_head

RESNETS = ("resnet18", "resnet34", "resnet50")
BACKBONES = ("small_cnn", *RESNETS)

SMALL_CNN_PLACES = 2
"""Rows and columns of the small network's last map; image sizes are multiples of 32 best."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_WEIGHTS_HINT = (
    "Give the state_dict of the same torchvision network, as torch.save(model.state_dict(), FILE) "
    "or safetensors write it."
)


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
) -> Backbone:
    """Builds a network by name, with random weights unless a file of features is given.

    Args:
        name: one of `BACKBONES`. `small_cnn` is for images of about 32 px.
        num_classes: C, at least 2.
        width: channels of each layer of `small_cnn`; ResNets have their own.
        weights: a torchvision ResNet's own keys as safetensors or .pth (`fc.*` is ignored); never
            downloaded, never unpickled beyond tensors.
        head: `linear` or `cosine`, see `redshank.nn.heads`.

    Raises:
        ValueError: unknown name, or weights for a network that takes none.
        InputError: the file holds no tensors, or those of another network.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}, expected one of {', '.join(BACKBONES)}")
    if name in RESNETS:
        model = _resnet(name, num_classes, weights, head)
    else:
        if weights is not None:
            raise ValueError(f"small_cnn takes no pretrained weights, got {weights}")
        model = Backbone(_small_cnn(width), width * SMALL_CNN_PLACES**2, num_classes, head=head)
    model.recipe = {"name": name, "num_classes": num_classes, "width": width}
    if head != "linear":  # files with the usual head stay readable by older code
        model.recipe["head"] = head
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


def _resnet(name: str, num_classes: int, weights: Path | None, head: str) -> Backbone:
    import torchvision.models

    net = torchvision.models.get_model(name, weights=None)
    embedding_dim = int(net.fc.in_features)
    net.fc = nn.Identity()
    if weights is not None:
        state = _read_weights(weights)
        _check_fit(net.state_dict(), state, f"{weights} holds no {name}")
        net.load_state_dict(state)
    return Backbone(
        net, embedding_dim, num_classes, head=head, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, without those of the last layer."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} is no file of tensors: {reason}", hint=_WEIGHTS_HINT) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"{path} holds more, or other, than named tensors", hint=_WEIGHTS_HINT)
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def _check_fit(own: dict[str, Tensor], given: dict[str, Tensor], claim: str) -> None:
    wrong = [name for name in given if name not in own]
    for name, tensor in own.items():  # files from before 2018 have no batch counters
        if name in given or not name.endswith("num_batches_tracked"):
            wrong += [] if name in given and given[name].shape == tensor.shape else [name]
    if wrong:
        raise InputError(
            f"{claim}: {len(wrong)} tensors are missing, unknown or of another shape, "
            f"like {wrong[0]!r}",
            hint=_WEIGHTS_HINT,
        )
