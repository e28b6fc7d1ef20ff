from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from redshank.nn import FixCLRLoss, fixclr_loss
from redshank.nn.gather import gather_rows, gather_rows_with_grad
from tests.gloo import leave_group

PROCESSES, ROWS = 2, 12
SETTINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "cross": {"negatives": "cross"},
    "attract": {"attract": 0.5},
    "per_class": {"per_class": True},
}


def data() -> tuple[nn.Linear, Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    net = nn.Linear(6, 8).double()
    x = torch.randn(PROCESSES * ROWS, 6, dtype=torch.float64)
    y = torch.randint(0, 4, (len(x),))
    domain = torch.randint(0, 3, (len(x),))
    return net, x, y, domain, torch.rand(len(x), dtype=torch.float64)


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES
    )
    found = share_of(rank)
    if dist.get_world_size() == PROCESSES:
        Path(folder, f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    leave_group()


def share_of(rank: int) -> dict[str, Any]:
    rows = slice(rank * ROWS, (rank + 1) * ROWS)
    found = {}
    for name, settings in SETTINGS.items():
        net, x, y, domain, weight = data()
        parallel = DistributedDataParallel(net)
        loss = FixCLRLoss(gather=True, **settings)(
            parallel(x[rows]), y[rows], domain[rows], weight[rows]
        )
        loss.backward()
        assert net.weight.grad is not None
        found[name] = {"loss": loss.item(), "grad": net.weight.grad.tolist()}
    return found


def test_two_processes_equal_one(tmp_path: Path) -> None:
    spawn(worker, args=(str(tmp_path),), nprocs=PROCESSES)  # type: ignore[no-untyped-call]
    results = [json.loads((tmp_path / f"{r}.json").read_text()) for r in range(PROCESSES)]
    for name, settings in SETTINGS.items():
        net, x, y, domain, weight = data()
        loss = fixclr_loss(net(x), y, domain_B=domain, weight_B=weight, **settings)
        loss.backward()  # type: ignore[no-untyped-call]
        assert net.weight.grad is not None
        for result in results:
            assert abs(result[name]["loss"] - loss.item()) < 1e-12
            grad = torch.tensor(result[name]["grad"], dtype=torch.float64)
            assert (grad - net.weight.grad).abs().max().item() < 1e-12


def test_one_process_gathers_its_own_rows() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert gather_rows_with_grad(x) is x
    assert torch.equal(gather_rows(x), x)
    assert not gather_rows(x).requires_grad


@pytest.mark.parametrize("gather", [False, True])
def test_gather_without_processes_changes_nothing(gather: bool) -> None:
    net, x, y, _, _ = data()
    assert FixCLRLoss(gather=gather)(net(x), y).item() == fixclr_loss(net(x), y).item()
