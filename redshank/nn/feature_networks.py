"""Published architectures without their last layer: torchvision's, and timm's where installed.

Weights come from a file that the user names; nothing is ever downloaded, nothing unpickled beyond
tensors. Shapes: B images, H x W pixels, D embedding features.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redshank.errors import InputError, MissingPartError

TIMM = "timm:"
LAST_LAYER = {
    "resnet18": "fc",
    "resnet34": "fc",
    "resnet50": "fc",
    "resnet101": "fc",
    "convnext_tiny": "classifier.2",
    "convnext_small": "classifier.2",
    "convnext_base": "classifier.2",
    "efficientnet_b0": "classifier.1",
    "efficientnet_b1": "classifier.1",
    "efficientnet_b2": "classifier.1",
    "efficientnet_b3": "classifier.1",
    "efficientnet_v2_s": "classifier.1",
    "vit_b_16": "heads.head",
    "vit_b_32": "heads.head",
    "vit_l_16": "heads.head",
}
"""torchvision's networks and the layer that gives way to redshank's head."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_HINT = (
    "Give the state_dict of the same network, as torch.save(model.state_dict(), FILE) or "
    "safetensors write it."
)


@dataclass(frozen=True)
class Features:
    """Normalised images [B, 3, H, W] to embedding [B, D], and what images are normalised with."""

    module: nn.Module
    embedding_dim: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def build_features(name: str, image_size: int, weights: Path | None) -> Features:
    """A network of `LAST_LAYER`, or `timm:NAME`.

    Args:
        name: see above.
        image_size: height and width; vision transformers are built for one size.
        weights: file of pretrained weights of the whole network; its last layer is ignored.

    Raises:
        ValueError: the network does not exist, or cannot take images of that size.
        MissingPartError: timm is asked for and not installed.
        InputError: the file holds no tensors, or those of another network.
    """
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM), image_size, weights)
    return _torchvision(name, image_size, weights)


def _torchvision(name: str, image_size: int, weights: Path | None) -> Features:
    import torchvision.models

    options = {"image_size": image_size} if name.startswith("vit_") else {}
    try:
        net = torchvision.models.get_model(name, weights=None, **options)
    except (AssertionError, ValueError) as error:  # an image is no whole number of patches
        raise ValueError(f"{name} takes no images of {image_size} px: {error}") from error
    last = net.get_submodule(LAST_LAYER[name])
    net.set_submodule(LAST_LAYER[name], nn.Identity())
    if weights is not None:
        state = read_weights(weights, LAST_LAYER[name])
        if "encoder.pos_embedding" in state:
            state = _resized_positions(state, net, image_size)
        _load(net, state, f"{weights} holds no {name}")
    return Features(net, int(last.in_features))


def _resized_positions(
    state: dict[str, Tensor], net: nn.Module, image_size: int
) -> dict[str, Tensor]:
    """Position embeddings of another image size, interpolated as torchvision does."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(
        interpolate_embeddings(
            image_size, int(net.get_parameter("conv_proj.weight").shape[-1]), state
        )
    )


def _timm(name: str, image_size: int, weights: Path | None) -> Features:
    try:
        import timm
    except ImportError as error:
        raise MissingPartError(
            f"backbone {TIMM}{name} needs the package timm",
            hint="pip install 'redshank[timm]'",
        ) from error
    net: Any
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name[:8]}*")[:5])
        raise ValueError(
            f"timm {timm.__version__} has no {name!r}" + (f", but {close}" * bool(close))
        )
    try:
        net = timm.create_model(name, num_classes=0, img_size=image_size)
    except TypeError:  # convolutions take every size and have no such argument
        net = timm.create_model(name, num_classes=0)
    facts = net.pretrained_cfg
    if weights is not None:
        layers = facts.get("classifier") or ()
        state = read_weights(weights, *((layers,) if isinstance(layers, str) else layers))
        _load(net, state, f"{weights} holds no {TIMM}{name}")
    dim = int(getattr(net, "head_hidden_size", None) or net.num_features)
    return Features(net, dim, tuple(facts["mean"]), tuple(facts["std"]))


def read_weights(path: Path, *last_layers: str) -> dict[str, Tensor]:
    """The tensors of a file, without those of the last layers.

    Raises:
        InputError: it holds no tensors, or more than tensors.
    """
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
        raise InputError(f"{path} is no file of tensors: {reason}", hint=_HINT) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise InputError(f"{path} holds more, or other, than named tensors", hint=_HINT)
    dropped = tuple(f"{layer}." for layer in last_layers)
    return {name: tensor for name, tensor in state.items() if not name.startswith(dropped)}


def _load(net: nn.Module, state: dict[str, Tensor], claim: str) -> None:
    """Load all or nothing."""
    own = net.state_dict()
    wrong = [name for name in state if name not in own]
    for name, tensor in own.items():  # files from before 2018 have no batch counters
        if name in state or not name.endswith("num_batches_tracked"):
            wrong += [] if name in state and state[name].shape == tensor.shape else [name]
    if wrong:
        raise InputError(
            f"{claim}: {len(wrong)} tensors are missing, unknown or of another shape, "
            f"like {wrong[0]!r}",
            hint=_HINT,
        )
    net.load_state_dict(state, strict=False)
