"""What is refused early: impossible settings, a missing device, a parent that does not fit."""

from __future__ import annotations

from pathlib import Path

import torch

from redshank.errors import ConfigError, InputError, MissingPartError
from redshank.limits import check_limits
from redshank.nn.backbones import BACKBONES, Backbone, build_backbone
from redshank.nn.checkpoint import load_model
from redshank.nn.feature_networks import TIMM
from redshank.nn.mixstyle import add_mixstyle
from redshank.run import WEIGHTS_FILE, Run
from redshank.settings import TrainingSettings

from .tensorboard import writer_class


def check_settings(settings: TrainingSettings) -> None:
    """Refuses settings that cannot work, by name."""
    limits = {
        "steps": (settings.steps, 1, 10**9),
        "width": (settings.width, 1, 4096),
        "image_size": (settings.image_size, 16, 4096),
        "labelled_per_step": (settings.labelled_per_step, 2, 10**6),
        "unlabelled_per_step": (settings.unlabelled_per_step, 2, 10**6),
        "learning_rate": (settings.learning_rate, 1e-9, 100.0),
        "head_rate_factor": (settings.head_rate_factor, 1e-6, 1e6),
        "weight_decay": (settings.weight_decay, 0.0, 1.0),
        "ema_decay": (settings.ema_decay, 0.0, 0.999999),
        "field_share": (settings.field_share, 0.0, 0.5),
        "colour_jitter": (settings.colour_jitter, 0.0, 1.0),
        "held_out_steps": (settings.held_out_steps, 1, 10**9),
        "checkpoint_every": (settings.checkpoint_every, 1, 10**9),
        "pixels_memory_mb": (settings.pixels_memory_mb, 1, 10**9),
        "threads": (settings.threads, 0, 4096),
        "seed": (settings.seed, 0, 2**31),
        "fixmatch.weight": (settings.fixmatch.weight, 0.0, 1e6),
        "fixmatch.threshold": (settings.fixmatch.threshold, 0.0, 1.0),
        "late_share": (settings.late_share, 0.0, 1.0),
        "mixstyle": (settings.mixstyle, 0.0, 1.0),
        "adaptive.floor": (settings.adaptive.floor, 0.0, 1.0),
        "adaptive.momentum": (settings.adaptive.momentum, 0.0, 0.999999),
        "adaptive.warm_up_share": (settings.adaptive.warm_up_share, 0.0, 1.0),
        "adaptive.debias": (settings.adaptive.debias, 0.0, 10.0),
        "target.class_cap": (settings.target.class_cap, 0.0, 1e6),
        "fixclr.attract": (settings.fixclr.attract, 0.0, 1e6),
        "fixclr.queue": (settings.fixclr.queue, 0, 10**6),
        "fixclr.projection": (settings.fixclr.projection, 0, 10**5),
        "fixclr.weight": (settings.fixclr.weight, 0.0, 1e6),
        "fixclr.temperature": (settings.fixclr.temperature, 1e-4, 1e4),
        "fixclr.ramp_share": (settings.fixclr.ramp_share, 0.0, 1.0),
        "style.fourier": (settings.style.fourier, 0.0, 1.0),
        "style.channel_statistics": (settings.style.channel_statistics, 0.0, 1.0),
        "style.random_convolution": (settings.style.random_convolution, 0.0, 1.0),
        "style.texture": (settings.style.texture, 0.0, 1.0),
    }
    check_limits("training", limits)
    name = settings.backbone
    if name not in BACKBONES and not name.startswith(TIMM):
        raise ConfigError(
            f"training.backbone is {name!r}, expected one of {', '.join(BACKBONES)}, or {TIMM}NAME"
        )
    if settings.tensorboard:
        writer_class()
    if settings.weights:
        _check_weights_file(name, Path(settings.weights))
    if settings.weights or settings.mixstyle or name.startswith((TIMM, "vit_")):
        _build_once(settings)


def _check_weights_file(backbone: str, weights: Path) -> None:
    if backbone == "small_cnn":
        raise ConfigError(
            f"training.weights is {weights}, but {backbone} takes no pretrained weights",
            hint="Set training.backbone to another network, like resnet18.",
        )
    if not weights.is_file():
        raise InputError(f"training.weights: {weights} does not exist")


def _build_once(settings: TrainingSettings) -> None:
    """Shows before hours of decoding whether it can be built; leaves the random state alone."""
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_backbone(
                settings.backbone,
                2,
                weights=Path(settings.weights) if settings.weights else None,
                image_size=settings.image_size,
            )
        if settings.mixstyle:
            add_mixstyle(model.features, settings.mixstyle)
    except ValueError as error:
        raise ConfigError(f"training.backbone: {error}") from error


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU when there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingPartError(
            "training.device is cuda, but torch sees no GPU", hint="See: redshank doctor"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def load_parent(
    folder: Path, run: Run, classes: tuple[str, ...], settings: TrainingSettings
) -> Backbone:
    """The parent's averaged weights, where network and classes are the same.

    Raises:
        InputError: they are not; names the difference.
    """
    model = load_model(folder / WEIGHTS_FILE)
    for name, old, new in (
        ("classes", run.classes, classes),
        ("backbone", run.backbone.name, settings.backbone),
        ("image size", run.backbone.image_size, settings.image_size),
        ("width", model.recipe["width"], settings.width),
        ("head", model.recipe.get("head", "linear"), settings.head),
    ):
        if old != new:
            raise InputError(
                f"{folder} was trained with {name} {old}, this training has {new}",
                hint="Train without a parent, or give one with the same network and classes.",
            )
    return model
