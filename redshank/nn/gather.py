"""Rows of all processes, with gradient for features and without for labels."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

if dist.is_available():
    # Its functions take the default group as a default argument, so the group of whoever imports
    # it late (DistributedDataParallel does) outlives destroy_process_group. Gloo's threads would
    # then still drop their last work while the interpreter ends, and abort the process.
    import torch.distributed.nn.functional


def is_distributed() -> bool:
    """True when a process group of more than one process is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_rows(x_B: Tensor) -> Tensor:
    """Concatenates the rows of all processes in rank order, without gradient.

    Every process must bring the same number of rows (pad with rows of weight 0 otherwise).
    """
    if not is_distributed():
        return x_B.detach()
    parts = [torch.empty_like(x_B) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x_B.detach().contiguous())
    return torch.cat(parts)


def gather_rows_with_grad(x_BD: Tensor) -> Tensor:
    """Concatenates the rows of all processes; each row gets the gradient of all processes' losses.

    When every process computes the same loss on the gathered rows, the sum over processes is the
    single-process gradient times the number of processes; the mean that DistributedDataParallel
    takes afterwards makes it exact.
    """
    if not is_distributed():
        return x_BD
    gathered: Tensor = _GatherRows.apply(x_BD)
    return gathered


def gather_blocks(x_BD: Tensor, sizes: list[int]) -> list[Tensor]:
    """Splits rows into blocks, each with the rows of all processes in rank order, with gradient.

    Every process must bring the same sizes.
    """
    if not is_distributed():
        return list(torch.split(x_BD, sizes))
    x_PBD = gather_rows_with_grad(x_BD).view(dist.get_world_size(), *x_BD.shape)
    return [block_PBD.flatten(0, 1) for block_PBD in torch.split(x_PBD, sizes, dim=1)]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BD: Tensor) -> Tensor:
        ctx.rows = len(x_BD)
        return gather_rows(x_BD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.rows
        return total[start : start + ctx.rows]
