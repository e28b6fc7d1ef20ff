"""Labels only: no pseudo-label is used. Shapes: B rows, C classes."""

from __future__ import annotations

import torch

from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak, probabilities


def supervised(weak: Weak, state: State, _rule: Rule) -> tuple[PseudoLabels, State]:
    """Pseudo-labels for figures, all of weight 0."""
    confidence_B, label_B = probabilities(weak.logits_BC).max(dim=1)
    return PseudoLabels(label_B, torch.zeros_like(confidence_B), confidence_B), state
