"""One training step: a base method on labels and pseudo-labels, FixCLR on the features of both.

L labelled and U unlabelled images, C classes, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from redshank.nn import FixCLRLoss, PseudoLabels, pseudo_label_loss
from redshank.nn.backbones import Backbone
from redshank.nn.gather import gather_blocks
from redshank.nn.mixstyle import sampling

from .batches import Batch
from .processes import Forward
from .teacher import Teacher

Confidence = Literal["none", "hard", "soft"]


@dataclass(frozen=True)
class Losses:
    """Terms of one step, each without its weight, and the pseudo-labels behind them."""

    total: Tensor
    labelled: Tensor
    unlabelled: Tensor
    fixclr: Tensor
    target_U: Tensor
    weight_U: Tensor
    """In [0, 1]: how much each pseudo-label counts."""
    sure_U: Tensor
    """The same before the limits of target domains: what the base method alone would use."""


@dataclass(frozen=True)
class Weights:
    """Of the terms of a step."""

    unlabelled: float
    fixclr: float
    confidence: Confidence = "none"
    """What a pseudo-label weighs in FixCLR: all alike, as the base method says, its probability."""


def step_losses(
    model: Backbone,
    batch: Batch,
    fixclr: FixCLRLoss,
    teacher: Teacher,
    weights: Weights,
    *,
    step: int,
    generator: Generator,
    forward: Forward | None = None,
) -> Losses:
    """Forward passes and losses of one batch; the teacher's averages move on.

    The weak view passes on its own, without gradient: cheaper, and BatchNorm then normalises weak
    and strong views by their own statistics. FixCLR sees the labelled and the strong features that
    the other losses computed anyway, and by default every pseudo-label, confident or not. Logits
    and features are gathered from all processes, each of which computes all losses.

    Args:
        model: in training mode.
        batch: its views.
        fixclr: the repel-only term.
        teacher: makes the pseudo-labels.
        weights: of the terms.
        step: number of the step, from 0.
        generator: of what the network itself draws (MixStyle, the stochastic head).
        forward: how to pass through the network, where several processes do so together.
    """
    forward = forward or model
    weak_UC, weak_LC = _weak_logits(model, forward, batch)
    wanted = teacher.teach(weak_UC, batch, step)
    pseudo = teacher.limited(wanted, batch.domain_U)
    logits_LC, logits_UC, strong_LC, z_LD, z_UD = _passed(model, forward, batch, generator)
    loss_labelled = functional.cross_entropy(logits_LC.float(), batch.label_L)
    loss_unlabelled = pseudo_label_loss(logits_UC, pseudo)
    if teacher.method.extra_loss is not None:
        rows = logits_UC, pseudo
        if teacher.method.extra_rows == "labelled":
            rows = strong_LC, teacher.teach_labelled(weak_LC, batch.domain_L)
        loss_unlabelled = loss_unlabelled + teacher.method.extra_loss(*rows)
    loss_fixclr = loss_labelled.new_zeros(())
    total = loss_labelled + weights.unlabelled * loss_unlabelled
    if weights.fixclr:
        weight_B = fixclr_weights(pseudo, len(z_LD), weights.confidence, teacher, batch.domain_U)
        loss_fixclr = fixclr(
            torch.cat([z_LD, z_UD]),
            torch.cat([batch.label_L, pseudo.label_B]),
            torch.cat([batch.domain_L, batch.domain_U]),
            weight_B,
        )
        total = total + weights.fixclr * loss_fixclr
    label_U, weight_U, sure_U = pseudo.label_B, pseudo.weight_B, wanted.weight_B
    return Losses(total, loss_labelled, loss_unlabelled, loss_fixclr, label_U, weight_U, sure_U)


def fixclr_weights(
    pseudo: PseudoLabels,
    labelled: int,
    confidence: Confidence,
    teacher: Teacher,
    domain_U: Tensor,
) -> Tensor | None:
    """Weights in FixCLR of labelled rows (1) and unlabelled rows; None where all count alike."""
    present_U = teacher.present(domain_U)
    if confidence == "none" and present_U is None:
        return None
    weight_U = {
        "none": torch.ones_like(pseudo.confidence_B),
        "hard": pseudo.weight_B,
        "soft": pseudo.confidence_B,
    }[confidence]
    if present_U is not None:
        weight_U = weight_U * present_U
    return torch.cat([weight_U.new_ones(labelled), weight_U])


def ramp(step: int, steps: int, share: float) -> float:
    """Grows linearly from 0 to 1 over the first `share` of the steps."""
    return 1.0 if share <= 0.0 else min(1.0, step / (share * steps))


def make_optimizer(
    model: Backbone,
    *others: nn.Module,
    learning_rate: float,
    weight_decay: float,
    head_rate_factor: float = 1.0,
) -> torch.optim.SGD:
    """SGD with Nesterov momentum 0.9; no decay on biases and BatchNorm.

    The model's last layer learns `head_rate_factor` times as fast as all else: a pretrained network
    with a new head needs it.
    """
    head = {id(p) for p in model.head.parameters()} if head_rate_factor != 1.0 else set()
    parameters = [p for module in (model, *others) for p in module.parameters()]
    groups = []
    for chosen, factor in (
        ([p for p in parameters if id(p) not in head], 1.0),
        ([p for p in parameters if id(p) in head], head_rate_factor),
    ):
        for is_matrix, decay in ((True, weight_decay), (False, 0.0)):
            part = [p for p in chosen if (p.ndim > 1) == is_matrix]
            if part:
                groups.append({"params": part, "weight_decay": decay, "rate_factor": factor})
    optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)
    set_learning_rate(optimizer, learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Each group of parameters at its own multiple of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate_factor"]


def _passed(
    model: Backbone, forward: Forward, batch: Batch, generator: Generator
) -> tuple[Tensor, ...]:
    """Logits of labelled, unlabelled and strong labelled rows; features of the first two."""
    views = [batch.labelled_L3HW, batch.strong_U3HW]
    views += [] if batch.strong_L3HW is None else [batch.strong_L3HW]
    x_B3HW = torch.cat(views).contiguous(memory_format=torch.channels_last)
    with sampling(model, generator):
        logits_BC, z_BD = forward(x_B3HW)
    labelled, unlabelled = len(batch.labelled_L3HW), len(batch.strong_U3HW)
    sizes = [labelled, unlabelled, len(x_B3HW) - labelled - unlabelled]
    return (*gather_blocks(logits_BC, sizes), *gather_blocks(z_BD, sizes)[:2])


@torch.no_grad()
def _weak_logits(model: Backbone, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of unlabelled rows, and of labelled ones where the batch has weak views of them."""
    views = [batch.weak_U3HW] + ([] if batch.weak_L3HW is None else [batch.weak_L3HW])
    x_B3HW = views[0] if len(views) == 1 else torch.cat(views)
    if not len(x_B3HW):
        none_0C = x_B3HW.new_zeros(0, model.head.out_features)
        return none_0C, none_0C
    unlabelled = len(batch.weak_U3HW)
    logits_UC, logits_LC = gather_blocks(forward(x_B3HW)[0], [unlabelled, len(x_B3HW) - unlabelled])
    return logits_UC, logits_LC
