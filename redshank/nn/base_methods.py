"""Every base method by name. FixCLR rides on any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from redshank.nn.debiaspl import debiaspl, debiaspl_state
from redshank.nn.defixmatch import debiasing_loss
from redshank.nn.fixmatch import fixmatch
from redshank.nn.flexmatch import flexmatch, flexmatch_state
from redshank.nn.freematch import fairness_loss, freematch, freematch_state
from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak
from redshank.nn.softmatch import softmatch, softmatch_state
from redshank.nn.supervised import supervised


def no_state(_num_classes: int, _num_images: int) -> State:
    """For methods that remember nothing."""
    return {}


@dataclass(frozen=True)
class BaseMethod:
    """How weak views become pseudo-labels, and what is added to their loss."""

    assign: Callable[[Weak, State, Rule], tuple[PseudoLabels, State]]
    initial_state: Callable[[int, int], State] = no_state
    """From the numbers of classes and of images."""
    extra_loss: Callable[[Tensor, PseudoLabels], Tensor] | None = None
    """Of strong logits and pseudo-labels, added to `pseudo_label_loss` before the weight."""
    extra_rows: Literal["unlabelled", "labelled"] = "unlabelled"
    """Which rows the extra loss is about; `labelled` needs weak and strong views of those."""
    unlabelled: bool = True
    """Whether unlabelled images are used at all."""


BASE_METHODS: dict[str, BaseMethod] = {
    "supervised": BaseMethod(supervised, unlabelled=False),
    "fixmatch": BaseMethod(fixmatch),
    "flexmatch": BaseMethod(flexmatch, flexmatch_state),
    "freematch": BaseMethod(freematch, freematch_state, fairness_loss),
    "softmatch": BaseMethod(softmatch, softmatch_state),
    "defixmatch": BaseMethod(fixmatch, no_state, debiasing_loss, "labelled"),
    "debiaspl": BaseMethod(debiaspl, debiaspl_state),
}


def at_fixed_threshold(pseudo: PseudoLabels, threshold: float) -> PseudoLabels:
    """The same labels, used where FixMatch would: for the first steps, while averages settle."""
    weight_B = (pseudo.confidence_B >= threshold).to(pseudo.weight_B.dtype)
    return pseudo._replace(weight_B=weight_B)
