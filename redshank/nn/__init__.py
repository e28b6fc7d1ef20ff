"""Losses and networks in plain PyTorch: importing this package needs torch only."""

from redshank.nn.base_methods import BASE_METHODS, BaseMethod
from redshank.nn.ema import averaged_copy, effective_decay, update_average
from redshank.nn.fixclr import FixCLRLoss, fixclr_loss
from redshank.nn.fixmatch import fixmatch_loss, fixmatch_targets
from redshank.nn.pseudo_labels import PseudoLabels, Rule, Weak, pseudo_label_loss

__all__ = [
    "BASE_METHODS",
    "BaseMethod",
    "FixCLRLoss",
    "PseudoLabels",
    "Rule",
    "Weak",
    "averaged_copy",
    "effective_decay",
    "fixclr_loss",
    "fixmatch_loss",
    "fixmatch_targets",
    "pseudo_label_loss",
    "update_average",
]
