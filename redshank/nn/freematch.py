"""FreeMatch: thresholds that follow the network's own confidence, and a reward for fair classes.

Wang et al., "FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning", ICLR 2023,
arXiv 2205.07246, equations 5 to 12. Shapes: B rows, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak, moved, probabilities

FAIRNESS_WEIGHT = 0.05
"""The paper's w_f for most of its tables, beside a weight of 1 for pseudo-labels."""
TINY = 1e-12


def freematch_state(num_classes: int, _num_images: int) -> State:
    """Everything starts at 1/C, as equations 5 and 6 say."""
    even_C = torch.full((num_classes,), 1.0 / num_classes)
    return {
        "confidence": torch.tensor(1.0 / num_classes),
        "prob_C": even_C,
        "share_C": even_C.clone(),
    }


def freematch(weak: Weak, state: State, rule: Rule) -> tuple[PseudoLabels, State]:
    """Self-adaptive thresholds.

    Global: the running mean of the confidence (equation 5); local: the running mean of each
    class's probability over its largest (equations 6 and 7); their product, never below
    `rule.floor`, is the threshold of a class (equation 8). The averages take this batch in first.
    """
    prob_BC = probabilities(weak.logits_BC)
    confidence_B, label_B = prob_BC.max(dim=1)
    state = _updated(state, prob_BC, rule.momentum) if len(label_B) else state
    local_C = state["prob_C"] / state["prob_C"].max()
    threshold_C = (local_C * state["confidence"]).clamp_min(rule.floor)
    weight_B = (confidence_B >= threshold_C[label_B]).to(prob_BC.dtype)
    expected_C = _sum_to_one(_ratio(state["prob_C"], state["share_C"]))
    return PseudoLabels(label_B, weight_B, confidence_B, expected_C=expected_C), state


def fairness_loss(
    logits_strong_BC: Tensor, pseudo: PseudoLabels, *, weight: float = FAIRNESS_WEIGHT
) -> Tensor:
    """Self-adaptive class fairness of the rows in use, times `weight` (equations 9 to 12).

    The negated cross-entropy of the expected class distribution and the batch's, each divided by
    its histogram of hard labels: it rewards diverse predictions. Between `weight * log(1e-12)` and
    0; zero with a graph where no row is in use.
    """
    used_B = pseudo.weight_B > 0
    if pseudo.expected_C is None or not used_B.any():
        return logits_strong_BC.sum() * 0.0
    logits_AC = logits_strong_BC[used_B]
    prob_AC = (logits_AC if logits_AC.dtype == torch.float64 else logits_AC.float()).softmax(dim=1)
    count_C = torch.bincount(prob_AC.detach().argmax(dim=1), minlength=prob_AC.shape[1])
    share_C = count_C.to(prob_AC.dtype) / len(prob_AC)
    batch_C = _sum_to_one(_ratio(prob_AC.mean(dim=0), share_C))
    return weight * (pseudo.expected_C.to(prob_AC.dtype) * (batch_C + TINY).log()).sum()


def _updated(state: State, prob_BC: Tensor, momentum: float) -> State:
    confidence_B, label_B = prob_BC.max(dim=1)
    share_C = torch.bincount(label_B, minlength=prob_BC.shape[1]).to(prob_BC.dtype) / len(prob_BC)
    return {
        "confidence": moved(state["confidence"], confidence_B.mean(), momentum),
        "prob_C": moved(state["prob_C"], prob_BC.mean(dim=0), momentum),
        "share_C": moved(state["share_C"], share_C, momentum),
    }


def _ratio(over_C: Tensor, under_C: Tensor) -> Tensor:
    """Classes that nothing was assigned to count 0, as in the authors' code."""
    safe_C = torch.where(under_C > 0, under_C, 1.0)
    return torch.where(under_C > 0, over_C / safe_C, 0.0)


def _sum_to_one(x_C: Tensor) -> Tensor:
    return x_C / x_C.sum().clamp_min(TINY)
