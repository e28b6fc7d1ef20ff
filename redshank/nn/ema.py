"""Exponential moving average of a model's weights: the model that is evaluated and exported."""

from __future__ import annotations

import copy
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
