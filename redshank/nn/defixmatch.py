"""DeFixMatch: FixMatch whose pseudo-label loss is measured on labelled images too, and taken off.

Schmutz, Humbert and Mattei, "Don't fear the unlabelled: safe semi-supervised learning via
debiasing", ICLR 2023, arXiv 2203.07512, section 3: the risk estimate

    R = mean_L CE(label) + w (mean_U H - mean_L H),   H: the pseudo-label loss,

is unbiased, because H has the same expectation on labelled and unlabelled images. Pseudo-labels are
FixMatch's. Shapes: B labelled rows, C classes.
"""

from __future__ import annotations

from torch import Tensor

from redshank.nn.pseudo_labels import PseudoLabels, pseudo_label_loss


def debiasing_loss(logits_strong_BC: Tensor, pseudo: PseudoLabels) -> Tensor:
    """-H of labelled images, from their weak and strong views, their labels unseen.

    Every labelled row counts in the mean, as every unlabelled row does in `pseudo_label_loss`.
    """
    return -pseudo_label_loss(logits_strong_BC, pseudo)
