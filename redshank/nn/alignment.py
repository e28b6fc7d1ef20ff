"""Distribution alignment: pseudo-labels of each domain keep to the class shares of the labels.

After ReMixMatch (Berthelot et al., ICLR 2020, section 3.1) and AdaMatch (ICLR 2022), with a running
prior *per domain*, which is ours: a network biased towards one class on one domain only would keep
that bias under a prior over all of them. Shapes: B rows, C classes, S domains.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from redshank.nn.pseudo_labels import moved, probabilities

MAX_RATIO = 10.0
"""A class is made at most so many times likelier or rarer: a domain may lack a class."""


def even_prior(num_domains: int, num_classes: int) -> Tensor:
    """prior_SC before any image was seen."""
    return torch.full((num_domains, num_classes), 1.0 / num_classes)


def updated_prior(prior_SC: Tensor, logits_BC: Tensor, domain_B: Tensor, momentum: float) -> Tensor:
    """The running mean of each domain's predicted classes, with this batch; absent domains stay.

    Args:
        prior_SC: running means so far.
        logits_BC: of the weak view, not aligned.
        domain_B: int64 in [0, S).
        momentum: in [0, 1).
    """
    prob_BC = probabilities(logits_BC).to(prior_SC.dtype)
    sum_SC = prior_SC.new_zeros(prior_SC.shape).index_add_(0, domain_B, prob_BC)
    count_S = torch.bincount(domain_B, minlength=len(prior_SC))[:, None]
    mean_SC = sum_SC / count_S.clamp_min(1)
    return torch.where(count_S > 0, moved(prior_SC, mean_SC, momentum), prior_SC)


def aligned_logits(
    logits_BC: Tensor, prior_SC: Tensor, domain_B: Tensor, target_C: Tensor
) -> Tensor:
    """Logits whose softmax is p * target / prior of the row's domain, normalised; no gradient.

    Args:
        logits_BC: of the weak view.
        prior_SC: see `updated_prior`.
        domain_B: int64 in [0, S).
        target_C: class shares to keep to, such as those of the labels.
    """
    limit, tiny = math.log(MAX_RATIO), torch.finfo(prior_SC.dtype).tiny
    log_ratio_SC = target_C.clamp_min(tiny).log() - prior_SC.clamp_min(tiny).log()
    log_ratio_SC = log_ratio_SC.clamp(-limit, limit)
    return probabilities(logits_BC).clamp_min(tiny).log() + log_ratio_SC[domain_B]
