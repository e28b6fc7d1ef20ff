"""FlexMatch: the threshold of a class grows with how many images it has won so far.

Zhang et al., "FlexMatch: Boosting Semi-Supervised Learning with Curriculum Pseudo Labeling",
NeurIPS 2021, arXiv 2110.08263, section 3. Shapes: B rows, C classes, N images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak, probabilities

UNUSED = -1


def flexmatch_state(num_classes: int, num_images: int) -> State:
    """No image has a confident pseudo-label yet.

    Args:
        num_classes: C.
        num_images: N; the learning effect of a class is a count over images, not over steps.
    """
    return {
        "label_N": torch.full((num_images,), UNUSED),
        "threshold_C": torch.zeros(num_classes),
    }


def flexmatch(weak: Weak, state: State, rule: Rule) -> tuple[PseudoLabels, State]:
    """Curriculum pseudo labels.

    sigma(c), the images whose last pseudo-label above the fixed threshold was c (equation 5, as
    the authors' code counts it, without a pass over all images a step); beta(c) = sigma(c) /
    max(max sigma, N - sum sigma) (equation 6 with the warm-up of section 3.2); threshold of the
    class M(beta(c)) * threshold with the convex M(x) = x / (2 - x) (equation 7, section 3.3),
    never below `rule.floor`. As in the authors' code, an image counts from the next step on.
    """
    prob_BC = probabilities(weak.logits_BC)
    confidence_B, label_B = prob_BC.max(dim=1)
    share_C = learning_effect(state["label_N"], prob_BC.shape[1]).to(prob_BC.dtype)
    threshold_C = (rule.threshold * share_C / (2.0 - share_C)).clamp_min(rule.floor)
    weight_B = (confidence_B >= threshold_C[label_B]).to(prob_BC.dtype)
    sure_B = confidence_B >= rule.threshold
    label_N = _remembered(state["label_N"], weak.image_B, label_B, sure_B)
    return (
        PseudoLabels(label_B, weight_B, confidence_B),
        {"label_N": label_N, "threshold_C": threshold_C.to(state["threshold_C"].dtype)},
    )


def learning_effect(label_N: Tensor, num_classes: int) -> Tensor:
    """beta_C in [0, 1]: images won by each class, over the most won or, early on, over the rest."""
    won_N = label_N[label_N != UNUSED]
    count_C = torch.bincount(won_N, minlength=num_classes)
    return count_C / torch.maximum(count_C.max(), len(label_N) - count_C.sum()).clamp_min(1)


def _remembered(label_N: Tensor, image_B: Tensor, label_B: Tensor, sure_B: Tensor) -> Tensor:
    label_N = label_N.clone()
    label_N[image_B[sure_B]] = label_B[sure_B]
    return label_N
