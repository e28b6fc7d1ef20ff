from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from redshank.nn.shared_norm import SharedBatchNorm2d, share_statistics
from tests.gloo import leave_group

SHARES = ((0, 5), (5, 12))
"""Rows of the two processes: not the same number."""
CASES: tuple[tuple[bool, float | None], ...] = ((True, 0.1), (False, 0.1), (True, None))


class NormAct(nn.BatchNorm2d):
    """Normalisation and activation in one layer, in timm's form."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.drop = nn.Identity()
        self.act = nn.PReLU()

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self.act(self.drop(super().forward(input)))
        return y


def network(affine: bool, momentum: float | None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, affine=affine, momentum=momentum),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 2, 3), NormAct(2)),
    ).double()


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 3.0 + torch.randn(12, 3, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randn(12, 2, 4, 4, generator=generator, dtype=torch.float64)


def results(net: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    found = {"loss": loss.detach()}
    found |= {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        found[f"{name}.grad"] = parameter.grad
    return found


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    train_share(rank, folder)
    leave_group()


def train_share(rank: int, folder: str) -> None:
    rows = slice(*SHARES[rank])
    x, target = images()
    for number, case in enumerate(CASES):
        net = network(*case)
        share_statistics(net)
        parallel = DistributedDataParallel(net)
        for _ in range(2):
            net.zero_grad()
            # the mean over all rows, made of sums: processes hold different numbers of rows
            loss = 2.0 * (parallel(x[rows]) * target[rows]).sum() / target.numel()
            loss.backward()
        torch.save(results(net, loss), Path(folder, f"{number}-{rank}.pt"))


def test_two_processes_equal_one(tmp_path: Path) -> None:
    spawn(worker, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    x, target = images()
    for number, case in enumerate(CASES):
        net = network(*case)
        for _ in range(2):
            net.zero_grad()
            loss = (net(x) * target).mean()
            loss.backward()
        expected = results(net, loss)
        found = [torch.load(tmp_path / f"{number}-{rank}.pt") for rank in range(2)]
        mean_loss = (found[0].pop("loss") + found[1].pop("loss")) / 2
        torch.testing.assert_close(mean_loss, expected.pop("loss"), atol=1e-12, rtol=0)
        for one in found:
            assert one.keys() == expected.keys()
            for name, tensor in expected.items():
                torch.testing.assert_close(one[name], tensor, atol=1e-10, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_alone_it_is_the_plain_layer(training: bool) -> None:
    plain, shared = network(True, 0.1).train(training), network(True, 0.1).train(training)
    share_statistics(shared)
    assert sum(isinstance(module, SharedBatchNorm2d) for module in shared.modules()) == 2
    x, _ = images()
    assert torch.equal(plain(x), shared(x))
    for (name, one), (other_name, other) in zip(
        plain.state_dict().items(), shared.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)


def test_timms_layer_keeps_its_activation_and_names() -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (extra timm)")
    torch.manual_seed(0)
    plain = timm.create_model("test_efficientnet", num_classes=0)
    torch.manual_seed(0)
    shared = timm.create_model("test_efficientnet", num_classes=0)
    share_statistics(shared)
    assert not [m for m in shared.modules() if type(m).__name__ == "BatchNormAct2d"]
    x = torch.rand(4, 3, 32, 32)
    assert torch.equal(plain(x), shared(x))
    assert plain.state_dict().keys() == shared.state_dict().keys()


def test_a_layer_of_unknown_make_is_refused() -> None:
    class Odd(nn.BatchNorm2d):
        pass

    with pytest.raises(ValueError, match="cannot share the statistics of a Odd"):
        share_statistics(nn.Sequential(Odd(2)))
