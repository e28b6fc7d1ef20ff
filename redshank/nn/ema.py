"""Averages of a model's weights over steps: the model that is evaluated and exported.

Exponential over all steps, or the plain mean of a late window (stochastic weight averaging,
Izmailov et al., UAI 2018).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def averaged_copy(model: Model) -> Model:
    """A copy of the model to hold the average: evaluation mode, no gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def effective_decay(decay: float, updates: int) -> float:
    """The decay after `updates` updates: short runs must forget their random start.

    min(decay, (1 + n) / (10 + n)), the usual warm-up of weight averages.
    """
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the average: decay * average + (1 - decay) * model.

    BatchNorm's running mean and variance are averaged like parameters, so the average is usable
    at any step; counters (integer buffers) are copied. Statistics recomputed at the end over plain
    images were about even on an unseen domain in most short runs, and 2.5 to 3 points worse in the
    two with the strongest change of colours.
    """
    new_state = model.state_dict()
    floating: list[Tensor] = []
    sources: list[Tensor] = []
    for name, old in average.state_dict().items():
        if old.is_floating_point():
            floating.append(old)
            sources.append(new_state[name])
        else:
            old.copy_(new_state[name])
    torch._foreach_lerp_(floating, sources, 1.0 - decay)


def mean_decay(models: int) -> float:
    """The decay that makes `update_average` the plain mean of `models` earlier models and the new.

    0 for the first, which forgets what the copy held before.
    """
    return models / (models + 1)


@torch.no_grad()
def recompute_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """BatchNorm's mean and variance of a model's own features, averaged over batches of images.

    Averaged weights never made a forward pass while training; statistics averaged beside them are
    those of other weights. Use images as varied as in training. Modes are restored; a network
    without BatchNorm is left alone.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    before = [(norm, norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for x_B3HW in batches:
        model(x_B3HW)
    for norm, momentum, training in before:
        norm.momentum = momentum
        norm.train(training)
