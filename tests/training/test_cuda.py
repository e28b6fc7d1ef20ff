"""The same code on an NVIDIA device; skipped where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from redshank.nn import fixclr_loss
from redshank.run import read_run
from training.draws import Draws
from training.style import Neighbours, StyleShares
from training.train import train
from training.views import Views

from .conftest import SMALL, MakeManifest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA device"),
]


@pytest.mark.parametrize(("backbone", "size"), [("small_cnn", 16), ("resnet18", 32)])
def test_trains_on_the_device(
    make_manifest: MakeManifest, tmp_path: Path, backbone: str, size: int
) -> None:
    settings = dataclasses.replace(SMALL, device="cuda", backbone=backbone, image_size=size)
    run = read_run(train(make_manifest(), settings, tmp_path))
    assert run.device.startswith("cuda")
    assert {row.domain for row in run.metrics if row.accuracy is not None} == {"north", "south"}


def test_views_are_made_on_the_device() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    images = torch.randint(0, 256, (24, 32, 32, 3), generator=generator, device="cuda").byte()
    near = Neighbours(images, torch.arange(24, device="cuda") % 3)
    views = Views(flip=True, style=StyleShares(1.0, 1.0, 1.0, 1.0), style_labelled=True)
    for view in (views.labelled, views.strong):
        x_B3HW = view(images, near, Draws(generator))
        assert x_B3HW.is_cuda
        assert x_B3HW.shape == (24, 3, 32, 32)
        assert x_B3HW.isfinite().all()
        assert x_B3HW.min() >= 0.0
        assert x_B3HW.max() <= 1.0


def test_compiled_and_prefetched_training(make_manifest: MakeManifest, tmp_path: Path) -> None:
    settings = dataclasses.replace(
        SMALL, device="cuda", precision="bfloat16", compile=True, prefetch="on"
    )
    run = read_run(train(make_manifest(), settings, tmp_path))
    assert run.device.startswith("cuda")


def test_loss_and_gradient_equal_those_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    z_BD = torch.randn(48, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    y_B = torch.randint(0, 5, (48,), generator=generator)
    there_BD = z_BD.detach().cuda().requires_grad_()
    loss, there = fixclr_loss(z_BD, y_B), fixclr_loss(there_BD, y_B.cuda())
    torch.testing.assert_close(there.cpu(), loss)
    (gradient,) = torch.autograd.grad(loss, z_BD)
    (gradient_there,) = torch.autograd.grad(there, there_BD)
    torch.testing.assert_close(gradient_there.cpu(), gradient)
