"""One training step: FixMatch on labels and pseudo-labels, FixCLR on the features of both.

L labelled and U unlabelled images, C classes, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from redshank.nn import FixCLRLoss, fixmatch_loss, fixmatch_targets
from redshank.nn.backbones import Backbone

from .batches import Batch


@dataclass(frozen=True)
class Losses:
    """Terms of one step, each without its weight, and the pseudo-labels behind them."""

    total: Tensor
    labelled: Tensor
    unlabelled: Tensor
    fixclr: Tensor
    target_U: Tensor
    mask_U: Tensor


def step_losses(
    model: Backbone,
    batch: Batch,
    fixclr: FixCLRLoss,
    *,
    threshold: float,
    unlabelled_weight: float,
    fixclr_weight: float,
) -> Losses:
    """Forward passes and losses of one batch.

    The weak view passes on its own, without gradient: cheaper, and BatchNorm then normalises weak
    and strong views by their own statistics. FixCLR sees the labelled and the strong features that
    the other losses computed anyway, and every pseudo-label, confident or not.
    """
    labelled, unlabelled = len(batch.labelled_L3HW), len(batch.weak_U3HW)
    logits_weak_UC = _weak_logits(model, batch)
    target_U, mask_U = fixmatch_targets(logits_weak_UC, threshold)
    x_B3HW = torch.cat([batch.labelled_L3HW, batch.strong_U3HW])
    logits_BC, z_BD = model(x_B3HW.contiguous(memory_format=torch.channels_last))
    logits_LC, logits_UC = logits_BC.split([labelled, unlabelled])
    loss_labelled = functional.cross_entropy(logits_LC.float(), batch.label_L)
    loss_unlabelled = fixmatch_loss(logits_UC, target_U, mask_U)
    loss_fixclr = loss_labelled.new_zeros(())
    total = loss_labelled + unlabelled_weight * loss_unlabelled
    if fixclr_weight:
        loss_fixclr = fixclr(z_BD, torch.cat([batch.label_L, target_U]))
        total = total + fixclr_weight * loss_fixclr
    return Losses(total, loss_labelled, loss_unlabelled, loss_fixclr, target_U, mask_U)


def ramp(step: int, steps: int, share: float) -> float:
    """Grows linearly from 0 to 1 over the first `share` of the steps."""
    return 1.0 if share <= 0.0 else min(1.0, step / (share * steps))


def make_optimizer(
    model: nn.Module, *, learning_rate: float, weight_decay: float
) -> torch.optim.SGD:
    """SGD with Nesterov momentum 0.9; no decay on biases and BatchNorm."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """One rate for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


@torch.no_grad()
def _weak_logits(model: Backbone, batch: Batch) -> Tensor:
    if not len(batch.weak_U3HW):
        return batch.weak_U3HW.new_zeros(0, model.head.out_features)
    logits_UC: Tensor = model(batch.weak_U3HW)[0]
    return logits_UC
