from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.draws import Draws
from training.random_convolution import KERNEL_SIZES, convolve, randomly_convolved


def images(size: int = 5, pixels: int = 9) -> Tensor:
    return torch.rand(size, 3, pixels, pixels, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
def test_equals_the_naive_sum_over_neighbours(kernel_size: int) -> None:
    x = images(2)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 3, 3, kernel_size, kernel_size, generator=generator)
    found = convolve(x, weight)
    reach, last = kernel_size // 2, 8
    scale = math.sqrt(2.0 / (3 * kernel_size**2))
    for image in range(2):
        sums = torch.zeros(3, 9, 9, dtype=torch.float64)
        for row in range(9):
            for column in range(9):
                for dy in range(kernel_size):
                    for dx in range(kernel_size):
                        y = min(max(row + dy - reach, 0), last)
                        x_ = min(max(column + dx - reach, 0), last)
                        pixel = x[image, :, y, x_].double()
                        sums[:, row, column] += scale * weight[image, :, :, dy, dx].double() @ pixel
        expected = (sums - sums.min()) / (sums.max() - sums.min())
        torch.testing.assert_close(found[image].double(), expected, atol=1e-5, rtol=0)


def test_the_identity_kernel_keeps_the_order_of_brightness() -> None:
    x = images()
    weight = torch.eye(3).view(1, 3, 3, 1, 1).expand(5, -1, -1, -1, -1)
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close(convolve(x, weight), (x - low) / (high - low))


def test_every_kernel_size_is_drawn_and_share_zero_draws_nothing() -> None:
    x = torch.zeros(200, 3, 15, 15)
    x[:, :, 7, 7] = 1.0  # a point shows how far its kernel reaches
    changed = (randomly_convolved(x, Draws(torch.Generator().manual_seed(0)), 1.0) - x).abs()
    ground = changed[:, :, :1, :1]
    reach = ((changed - ground).abs() > 1e-4).any(1)
    widths = reach.any(1).sum(1)
    counts = [int((widths == size).sum()) for size in KERNEL_SIZES]
    assert sum(counts) >= 195
    assert min(counts) > 25  # 50 expected, 4 standard deviations are 24
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert randomly_convolved(x, Draws(generator), 0.0) is x
    assert torch.equal(generator.get_state(), before)
