"""BatchNorm over the batch of all processes, on any device.

`torch.nn.SyncBatchNorm` exists for GPUs only. This one is made of plain tensor operations and
all-reduces, so that training on several processes equals training on one (to rounding) wherever
`torch.distributed` works.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from redshank.nn.gather import is_distributed


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of all processes' images together.

    Processes may hold different numbers of images. In evaluation, or alone, it is the plain layer;
    names and shapes of its state are the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised images [B, C, H, W] of this process."""
        if not (self.training and is_distributed()):
            return super().forward(input)
        x_BCHW = input
        count = x_BCHW.new_tensor([float(x_BCHW.numel() // x_BCHW.shape[1])])
        sums = all_reduce_sum(torch.cat([x_BCHW.sum((0, 2, 3)), count]))
        count = sums[-1].detach()
        mean_C = sums[:-1] / count
        centred_BCHW = x_BCHW - mean_C[:, None, None]
        variance_C = all_reduce_sum(centred_BCHW.square().sum((0, 2, 3))) / count
        self._track(mean_C.detach(), variance_C.detach() * count / (count - 1.0))
        scale_C = torch.rsqrt(variance_C + self.eps)
        if self.affine:
            scale_C = scale_C * self.weight
        y_BCHW = centred_BCHW * scale_C[:, None, None]
        return y_BCHW + self.bias[:, None, None] if self.affine else y_BCHW

    @torch.no_grad()
    def _track(self, mean_C: Tensor, unbiased_C: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None  # torch keeps the three together
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_C.to(self.running_var.dtype), share)


class SharedNormAct(SharedBatchNorm2d):
    """The same, with dropout and activation behind it: what timm calls BatchNormAct2d."""

    def __init__(self, features: int, drop: nn.Module, act: nn.Module, **options: Any) -> None:
        super().__init__(features, **options)
        self.drop = drop
        self.act = act

    def forward(self, input: Tensor) -> Tensor:
        """Normalised, dropped and activated images [B, C, H, W] of this process."""
        y_BCHW: Tensor = self.act(self.drop(super().forward(input)))
        return y_BCHW


def share_statistics(model: nn.Module) -> None:
    """Replaces every BatchNorm2d inside the model by one over all processes, with its state.

    On GPUs the plain layer becomes torch's own SyncBatchNorm.

    Raises:
        ValueError: the model has a BatchNorm2d of another make, whose forward pass is unknown.
    """
    for name, child in list(model.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, _shared(child))
        else:
            share_statistics(child)


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum over processes; each gets the gradient of all processes' losses."""
    if not is_distributed():
        return x
    total: Tensor = _AllReduceSum.apply(x)
    return total


def _shared(norm: nn.BatchNorm2d) -> nn.Module:
    if isinstance(norm, SharedBatchNorm2d):
        return norm
    plain = type(norm) is nn.BatchNorm2d
    if not plain and {name for name, _ in norm.named_children()} != {"drop", "act"}:
        raise ValueError(f"cannot share the statistics of a {type(norm).__name__}")
    if plain and norm.running_mean is not None and norm.running_mean.is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-any-return, no-untyped-call]
    options: dict[str, Any] = {
        "eps": norm.eps,
        "momentum": norm.momentum,
        "affine": norm.affine,
        "track_running_stats": norm.track_running_stats,
    }
    children = dict(norm.named_children())
    shared = (
        SharedBatchNorm2d(norm.num_features, **options)
        if plain
        else SharedNormAct(norm.num_features, **children, **options)
    )
    state = norm.state_dict()
    like = next(iter(state.values()), torch.zeros(0))
    shared.to(device=like.device, dtype=like.dtype)
    shared.load_state_dict(state)
    return shared.train(norm.training)


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total
