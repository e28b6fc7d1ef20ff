"""The processes that train one network together: started by `torchrun`, one without it.

Each makes the views of its share of a step and passes them through its copy of the network. Logits
and features are gathered, so that every process computes the whole step's loss; gradients are
averaged, BatchNorm statistics shared. The first process alone writes files.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from redshank.errors import ConfigError
from redshank.nn.backbones import Backbone
from redshank.nn.gather import is_distributed
from redshank.nn.shared_norm import share_statistics

from .draws import Share

Forward: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images to (logits, embedding)."""

PATIENCE = timedelta(hours=12)
"""How long processes wait for the first to decode images. `torchrun` ends them when one dies."""


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """The images of a step whose views this process makes; all shares are equal."""
        size = total // self.count
        return Share(self.rank * size, size, total)

    def agreed(self, value: str) -> str:
        """What the first process says, in all of them; also a point where all meet."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Lets the first process do the body before the others do it."""
        if not self.writes:
            self.agreed("")
        yield
        if self.writes:
            self.agreed("")


def current_processes() -> Processes:
    """Those of the process group that is up; one process without any."""
    return Processes(dist.get_rank(), dist.get_world_size()) if is_distributed() else Processes()


@contextmanager
def joined(
    device: torch.device, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[Processes, torch.device]]:
    """Joins the processes that `torchrun` started; gives them and this one's own device.

    Does nothing where the environment tells of one process, or a process group is up already.
    """
    count, local = int(environment.get("WORLD_SIZE", "1")), int(environment.get("LOCAL_RANK", "0"))
    if device.type == "cuda" and count > 1:
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if count == 1 or is_distributed():
        yield current_processes(), device
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield current_processes(), device
    finally:
        dist.destroy_process_group()


def parallel(model: Backbone) -> Forward:
    """The network as all processes train it together; BatchNorm layers inside are replaced."""
    if not is_distributed():
        return model
    share_statistics(model)
    # statistics are shared already; the name of the switch changed in torch 2.15
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {switch: False}
    return DistributedDataParallel(model, **options)


def check_shares(labelled: int, unlabelled: int, count: int) -> None:
    """Refuses batches that processes cannot share evenly.

    Raises:
        ConfigError: names the setting.
    """
    for name, size in (("labelled_per_step", labelled), ("unlabelled_per_step", unlabelled)):
        if size % count:
            raise ConfigError(
                f"training.{name} is {size}, which {count} processes cannot share evenly",
                hint=f"Set it to a multiple of {count}: it counts the images of all processes.",
            )
