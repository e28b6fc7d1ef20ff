"""The call shape of all base methods: weak logits and a state in, pseudo-labels and a state out.

    pseudo, state = method(weak, state, rule)

A state is a few tensors by name, so that a checkpoint can hold it. Nothing here has a gradient but
`pseudo_label_loss`. In several processes, give a method the rows of all of them (`gather`): their
states drift apart otherwise. Shapes: B rows, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


class Weak(NamedTuple):
    """What a method may look at."""

    logits_BC: Tensor
    """Of the weak view."""
    image_B: Tensor
    """Which image each row is, from 0, for methods that remember single images."""


class Rule(NamedTuple):
    """What all methods are told; each takes what it needs."""

    threshold: float = 0.95
    """Confidence from which a fixed-threshold method uses a pseudo-label, in [0, 1]."""
    floor: float = 0.7
    """Least value of an adaptive threshold. Those start near 1/C, where a network that was trained
    from scratch teaches itself its own noise until one class is left."""
    momentum: float = 0.999
    """Of running averages, in [0, 1). 0.999 is the papers' value for a million steps; use 0.99 for
    some thousand."""
    debias: float = 0.5
    """Strength of DebiasPL's shift and margin (its lambda)."""


class PseudoLabels(NamedTuple):
    """What a method makes of the weak view."""

    label_B: Tensor
    """int64, also the classes that FixCLR keeps apart."""
    weight_B: Tensor
    """In [0, 1]; 0 is not used."""
    confidence_B: Tensor
    """Probability of the label, in [0, 1]."""
    margin_C: Tensor | None = None
    """Added to the strong view's logits before the loss."""
    expected_C: Tensor | None = None
    """Class distribution that an extra loss compares with."""


def probabilities(logits_BC: Tensor) -> Tensor:
    """Softmax without gradient, at least in float32."""
    logits_BC = logits_BC.detach()
    return (logits_BC if logits_BC.dtype == torch.float64 else logits_BC.float()).softmax(dim=1)


def pseudo_label_loss(logits_strong_BC: Tensor, pseudo: PseudoLabels) -> Tensor:
    """Weighted cross-entropy of the strong view, divided by *all* B rows, used or not.

    An empty batch gives a zero that keeps the graph.
    """
    if not len(pseudo.label_B):
        return logits_strong_BC.sum() * 0.0
    if logits_strong_BC.dtype != torch.float64:
        logits_strong_BC = logits_strong_BC.float()
    if pseudo.margin_C is not None:
        logits_strong_BC = logits_strong_BC + pseudo.margin_C
    loss_B = functional.cross_entropy(logits_strong_BC, pseudo.label_B, reduction="none")
    return torch.where(pseudo.weight_B > 0, pseudo.weight_B * loss_B, 0.0).mean()


def moved(average: Tensor, new: Tensor, momentum: float) -> Tensor:
    """One step of a running average: momentum * average + (1 - momentum) * new."""
    return momentum * average + (1.0 - momentum) * new
