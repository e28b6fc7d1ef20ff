"""FixMatch: hard pseudo-labels of the weak view teach the strong view.

Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence",
NeurIPS 2020, equation 4. Shapes: B unlabelled rows, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak, probabilities


def fixmatch(weak: Weak, state: State, rule: Rule) -> tuple[PseudoLabels, State]:
    """Weight 1 from `rule.threshold` on, 0 below; see `pseudo_labels` for the call shape."""
    confidence_B, label_B = probabilities(weak.logits_BC).max(dim=1)
    weight_B = (confidence_B >= rule.threshold).to(confidence_B.dtype)
    return PseudoLabels(label_B, weight_B, confidence_B), state


def fixmatch_targets(logits_weak_BC: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Pseudo-labels and which of them are confident enough to teach.

    Args:
        logits_weak_BC: logits of the weak view.
        threshold: least confidence in [0, 1] (paper: 0.95); 0 keeps every row.

    Returns:
        targets_B (int64) and mask_B (bool), both without gradient.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
    confidence_B, targets_B = logits_weak_BC.detach().float().softmax(dim=1).max(dim=1)
    return targets_B, confidence_B >= threshold


def fixmatch_loss(logits_strong_BC: Tensor, targets_B: Tensor, mask_B: Tensor) -> Tensor:
    """Cross-entropy of the strong view on confident rows, divided by *all* B rows (equation 4).

    The division by all rows makes the loss grow with the share of confident rows, as in the paper.
    An empty batch gives a zero that keeps the graph.
    """
    if not len(targets_B):
        return logits_strong_BC.sum() * 0.0
    loss_B = functional.cross_entropy(logits_strong_BC.float(), targets_B, reduction="none")
    return torch.where(mask_B, loss_B, 0.0).mean()
