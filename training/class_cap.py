"""A cap on what one class may take of a target domain's pseudo-labels. B rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from redshank.nn.pseudo_labels import PseudoLabels


def capped(pseudo: PseudoLabels, rows_B: Tensor, num_classes: int, times: float) -> PseudoLabels:
    """Keeps, of the rows chosen and in use, the most confident of each class.

    A class may take `times` its even share of the chosen rows, at least one. On a harmed site a
    network names few classes, and surely; what it says beyond the cap would only teach it more of
    the same.

    Args:
        pseudo: of the whole batch; other rows stay as they are.
        rows_B: bool, the rows of one target domain.
        num_classes: C.
        times: above 0.
    """
    cap = max(1, math.ceil(times * int(rows_B.sum()) / num_classes))
    used_B = rows_B & (pseudo.weight_B > 0)
    if int(used_B.sum()) <= cap:
        return pseudo
    # most confident first, then stably by class: a row's rank inside its class is its place there
    order_B = torch.argsort(torch.where(used_B, -pseudo.confidence_B, 2.0), stable=True)
    class_B = torch.where(used_B, pseudo.label_B, num_classes)[order_B]
    order_B = order_B[torch.argsort(class_B, stable=True)]
    class_B = class_B.sort(stable=True).values
    start_B = torch.searchsorted(class_B, class_B)
    rank_B = torch.empty_like(order_B)
    rank_B[order_B] = torch.arange(len(order_B), device=order_B.device) - start_B
    keep_B = ~used_B | (rank_B < cap)
    return pseudo._replace(weight_B=torch.where(keep_B, pseudo.weight_B, 0.0))
