"""SoftMatch: every pseudo-label counts, with a weight that falls off below the usual confidence.

Chen et al., "SoftMatch: Addressing the Quantity-Quality Trade-off in Semi-supervised Learning",
ICLR 2023, arXiv 2301.10921, section 3. Shapes: B rows, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak, moved, probabilities

SIGMAS = 2.0
"""The authors' code divides the distance by sigma / 2."""
TINY = 1e-12


def softmatch_state(num_classes: int, _num_images: int) -> State:
    """Mean 1/C and variance 1, as in the paper."""
    return {
        "mean": torch.tensor(1.0 / num_classes),
        "variance": torch.tensor(1.0),
        "prob_C": torch.full((num_classes,), 1.0 / num_classes),
    }


def softmatch(weak: Weak, state: State, rule: Rule) -> tuple[PseudoLabels, State]:
    """Truncated Gaussian weights with uniform alignment.

    A row weighs 1 from the running mean of the confidence on, and exp(-d^2 / (2 (sigma/2)^2)) at a
    distance d below it; mean and (unbiased) variance are running averages over batches. The mean
    is never taken below `rule.floor`. Uniform alignment: the weight looks at p times 1/C over
    the running mean of p, normalised; the label comes from p itself.
    """
    prob_BC = probabilities(weak.logits_BC)
    confidence_B, label_B = prob_BC.max(dim=1)
    state = _updated(state, prob_BC, rule.momentum) if len(label_B) else state
    aligned_B = _uniformly_aligned(prob_BC, state["prob_C"]).max(dim=1).values
    below_B = (aligned_B - state["mean"].clamp_min(rule.floor)).clamp_max(0.0)
    weight_B = torch.exp(-(below_B**2) * SIGMAS**2 / (2.0 * state["variance"].clamp_min(TINY)))
    return PseudoLabels(label_B, weight_B.to(prob_BC.dtype), confidence_B), state


def _updated(state: State, prob_BC: Tensor, momentum: float) -> State:
    confidence_B = prob_BC.max(dim=1).values
    variance = confidence_B.var(correction=1) if len(confidence_B) > 1 else state["variance"]
    return {
        "mean": moved(state["mean"], confidence_B.mean(), momentum),
        "variance": moved(state["variance"], variance, momentum),
        "prob_C": moved(state["prob_C"], prob_BC.mean(dim=0), momentum),
    }


def _uniformly_aligned(prob_BC: Tensor, prob_C: Tensor) -> Tensor:
    aligned_BC = prob_BC / (prob_C * len(prob_C)).clamp_min(TINY)
    return aligned_BC / aligned_BC.sum(dim=1, keepdim=True).clamp_min(TINY)
