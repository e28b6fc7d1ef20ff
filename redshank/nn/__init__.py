"""Losses and networks in plain PyTorch: importing this package needs torch only."""

from redshank.nn.ema import averaged_copy, effective_decay, update_average
from redshank.nn.fixclr import FixCLRLoss, fixclr_loss
from redshank.nn.fixmatch import fixmatch_loss, fixmatch_targets

__all__ = [
    "FixCLRLoss",
    "averaged_copy",
    "effective_decay",
    "fixclr_loss",
    "fixmatch_loss",
    "fixmatch_targets",
    "update_average",
]
