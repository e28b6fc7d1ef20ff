"""The views of a batch against one image at a time: torchvision's operations, equal draws."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from training import augment
from training.augment import OPERATIONS, PHOTOMETRIC, draw_strengths, strengthened
from training.draws import Draws

SIDE = 30
UNLIKELY = 1e-3
"""Seeds are fixed: a test that passes does so for ever."""


def seeded(seed: int) -> Draws:
    return Draws(Generator().manual_seed(seed))


def pictures(size: int, side: int = SIDE) -> Tensor:
    """Smooth random pictures: noise alone would look the same after most operations."""
    coarse = torch.rand(size, 3, 6, 6, generator=Generator().manual_seed(3))
    return functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def posterized(x_3HW: Tensor, strength: float) -> Tensor:
    bits = math.ceil(8 - (8 - augment.MIN_POSTERIZE_BITS) * abs(strength))
    poster: Tensor = vision.posterize(x_3HW, bits)
    white = 1.0 - 0.5**bits
    return poster / white  # ours stays white


def sharpened(x_3HW: Tensor, strength: float) -> Tensor:
    """torchvision weighs the centre five times; ours is the mean of nine pixels."""
    padded = functional.pad(x_3HW[None], (1,) * 4, mode="replicate")
    smooth: Tensor = functional.avg_pool2d(padded, 3, stride=1)[0]
    return (smooth + (1.0 + strength) * (x_3HW - smooth)).clamp(0, 1)


def fade(strength: float) -> float:
    return 1.0 + augment.MAX_FADE * strength


ALONE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": lambda x, strength: vision.adjust_brightness(x, fade(strength)),
    "contrast": lambda x, strength: vision.adjust_contrast(x, fade(strength)),
    "colour": lambda x, strength: vision.adjust_saturation(x, fade(strength)),
    "posterize": posterized,
    "solarize": lambda x, strength: vision.solarize(x, 1.0 - abs(strength)),
    "sharpness": sharpened,
}


def alone(x_3HW: Tensor, operation: str, strength: float) -> Tensor:
    """One operation on one image, after torchvision where it has the operation."""
    if operation in ALONE:
        return ALONE[operation](x_3HW, strength)
    side = x_3HW.shape[-1]
    shift = round(augment.MAX_TRANSLATION * strength * side)
    shear = math.degrees(math.atan(augment.MAX_SHEAR * strength))
    return affine(
        x_3HW,
        angle=-augment.MAX_ROTATION_DEG * strength if operation == "rotate" else 0.0,
        move=(
            -shift if operation == "translate_x" else 0,
            -shift if operation == "translate_y" else 0,
        ),
        shear=(
            shear if operation == "shear_x" else 0.0,
            shear if operation == "shear_y" else 0.0,
        ),
    )


def affine(
    x_3HW: Tensor, *, angle: float, move: tuple[int, int], shear: tuple[float, float]
) -> Tensor:
    """torchvision's; the border is repeated, as ours, by padding far beyond it."""
    side = x_3HW.shape[-1]
    wide = functional.pad(x_3HW[None], (side,) * 4, mode="replicate")[0]
    moved: Tensor = vision.affine(
        wide, angle, list(move), 1.0, list(shear), interpolation=InterpolationMode.BILINEAR
    )
    return moved[:, side:-side, side:-side]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_equals_the_one_of_torchvision_on_single_images(operation: str) -> None:
    strengths = [-1.0, -0.6, -0.2, 0.3, 0.5, 0.8]
    if operation.startswith("translate"):  # whole pixels: torchvision moves by no other
        strengths = [pixels / (augment.MAX_TRANSLATION * SIDE) for pixels in (-9, -5, -1, 2, 6, 8)]
    x = pictures(len(strengths))
    strength_BK = torch.zeros(len(strengths), len(OPERATIONS))
    strength_BK[:, OPERATIONS.index(operation)] = torch.tensor(strengths)
    found = batch_of(x, strength_BK)
    for view, image, strength in zip(found, x, strengths, strict=True):
        expected = alone(image, operation, strength)
        difference = (view - expected).abs()
        if operation in ("posterize", "solarize"):  # pixels within rounding of a step may jump
            assert (difference > 1e-4).float().mean() < 0.005
        else:
            assert difference.max() < 1e-3


def batch_of(x_B3HW: Tensor, strength_BK: Tensor) -> Tensor:
    count = len(PHOTOMETRIC)
    x_B3HW = augment._photometric(x_B3HW, strength_BK[:, :count])
    return augment._geometric(x_B3HW, strength_BK[:, count:])


def test_every_pair_of_operations_is_drawn_equally_often() -> None:
    drawn_BK = draw_strengths(22_000, 2, seeded(0)) != 0
    assert (drawn_BK.sum(1) == 2).all()
    pairs = drawn_BK.double().T @ drawn_BK.double()
    upper = pairs[tuple(torch.triu_indices(11, 11, 1))]
    assert len(upper) == 55
    assert stats.chisquare(upper.numpy()).pvalue > UNLIKELY


@pytest.mark.parametrize("operations", [0, 1, 3, 11])
def test_each_image_draws_as_many_operations_as_asked(operations: int) -> None:
    drawn_BK = draw_strengths(500, operations, seeded(0)) != 0
    assert (drawn_BK.sum(1) == operations).all()


def test_magnitudes_are_uniform_whatever_else_was_drawn() -> None:
    strength_BK = draw_strengths(20_000, 2, seeded(1))
    for strength_B in strength_BK.unbind(1):
        drawn = strength_B[strength_B != 0].numpy()
        assert stats.kstest(drawn, stats.uniform(-1, 2).cdf).pvalue > UNLIKELY
    first, second = strength_BK[:, 0], strength_BK[:, 1]
    both = (first != 0) & (second != 0)
    correlation = stats.spearmanr(first[both].numpy(), second[both].numpy())
    assert correlation.pvalue > UNLIKELY


def test_views_are_distributed_like_those_made_one_by_one() -> None:
    size = 700
    x = pictures(1).expand(size, -1, -1, -1)
    ours = strengthened(x, seeded(0), cutout=0.0, colour_jitter=0.0)
    draw, naive = random.Random(0), []
    for image in x:
        view = image
        for operation in sorted(draw.sample(OPERATIONS, 2), key=OPERATIONS.index):
            view = alone(view, operation, draw.uniform(-1, 1))
        naive.append(view)
    for found, expected in zip(features(ours), features(torch.stack(naive)), strict=True):
        assert stats.ks_2samp(found, expected).pvalue > UNLIKELY
    fewer = strengthened(
        x, seeded(0), operations=1, cutout=0.0, colour_jitter=0.0
    )  # the same comparison tells one operation from two
    worst = min(
        stats.ks_2samp(found, expected).pvalue
        for found, expected in zip(features(fewer), features(ours), strict=True)
    )
    assert worst < UNLIKELY


def features(x_B3HW: Tensor) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Brightness, contrast, colourfulness, roughness, and where the brightness lies."""
    luma = x_B3HW.mean(1)
    place = torch.linspace(-1, 1, SIDE)
    return [
        feature.double().numpy()
        for feature in (
            luma.mean((1, 2)),
            luma.flatten(1).std(1),
            x_B3HW.std(1).mean((1, 2)),
            luma.diff(dim=2).abs().mean((1, 2)),
            (luma * place).mean((1, 2)),
            (luma * place[:, None]).mean((1, 2)),
        )
    ]
