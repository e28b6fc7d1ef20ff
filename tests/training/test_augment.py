from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training import augment
from training.augment import labelled_view, strong_view, to_float, weak_view
from training.draws import Draws


def images(size: int = 12, pixels: int = 16) -> Tensor:
    rng = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (size, pixels, pixels, 3), generator=rng, dtype=torch.uint8)


def seeded(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("view", [weak_view, labelled_view, strong_view])
def test_views_are_deterministic_in_range_and_leave_the_images_alone(view: object) -> None:
    assert callable(view)
    x = images()
    before = x.clone()
    first, second, other = view(x, seeded()), view(x, seeded()), view(x, seeded(1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(x, before)
    assert first.shape == (12, 3, 16, 16)
    assert first.dtype == torch.float32
    assert first.min() >= 0.0
    assert first.max() <= 1.0


def test_weak_view_shifts_each_image_by_its_own_whole_pixels() -> None:
    x = images(size=40)
    seen = set()
    padded = to_float(
        torch.nn.functional.pad(x.permute(0, 3, 1, 2).float(), (2,) * 4, "replicate").permute(
            0, 2, 3, 1
        )
    )
    for number, view in enumerate(weak_view(x, seeded())):
        shifts = [
            (dy, dx)
            for dy in range(5)
            for dx in range(5)
            if torch.equal(view, padded[number, :, dy : dy + 16, dx : dx + 16])
        ]
        assert len(shifts) == 1
        seen.add(shifts[0])
    assert len(seen) > 10


def test_no_mirror_images_unless_asked_for() -> None:
    x = torch.zeros(64, 16, 16, 3, dtype=torch.uint8)
    x[:, :, :4] = 255  # bright at the left
    assert (weak_view(x, seeded())[..., 0] == 1.0).all()
    mirrored = weak_view(x, seeded(), flip=True)[:, 0, 0, 0] == 0.0
    assert 20 < int(mirrored.sum()) < 44


def test_strength_zero_is_the_identity() -> None:
    x = to_float(images())
    zeros = torch.zeros(12, len(augment.PHOTOMETRIC))
    torch.testing.assert_close(augment._photometric(x, zeros), x, atol=1e-5, rtol=0)
    zeros = torch.zeros(12, len(augment.GEOMETRIC))
    torch.testing.assert_close(augment._geometric(x, zeros), x, atol=1e-5, rtol=0)
    plain = strong_view(images(), seeded(), operations=0, cutout=0.0, colour_jitter=0.0)
    torch.testing.assert_close(plain, weak_view(images(), seeded()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("operation", range(len(augment.OPERATIONS)))
def test_each_operation_changes_only_the_image_that_drew_it(operation: int) -> None:
    x = to_float(images())
    strength = torch.zeros(12, len(augment.OPERATIONS))
    strength[3, operation] = -0.8
    count = len(augment.PHOTOMETRIC)
    changed = augment._geometric(augment._photometric(x, strength[:, :count]), strength[:, count:])
    distance = (changed - x).abs().amax((1, 2, 3))
    assert distance[3] > 0.02
    distance[3] = 0.0
    assert distance.max() < 1e-5


def test_fades_equal_their_definition() -> None:
    x = to_float(images())
    b, c, k = (torch.rand(12, 1, 1, 1, generator=seeded(i).generator) for i in range(3))
    luma = torch.tensor(augment._LUMA).view(1, 3, 1, 1)
    step = b * x
    mean = (luma * step).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    step = mean + c * (step - mean)
    grey = (luma * step).sum(1, keepdim=True)
    expected = (grey + k * (step - grey)).clamp(0, 1)
    torch.testing.assert_close(augment._faded(x, b, c, k), expected, atol=1e-5, rtol=0)


def test_smoothing_equals_the_mean_of_nine_pixels() -> None:
    x = to_float(images())
    full = -torch.ones(12, 1, 1, 1)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    expected = torch.nn.functional.avg_pool2d(padded, 3, stride=1)
    torch.testing.assert_close(augment._sharpened(x, full), expected, atol=1e-6, rtol=0)


def test_posterize_leaves_few_levels_and_solarize_inverts_the_bright() -> None:
    x = to_float(images())
    strength = torch.zeros(12, len(augment.PHOTOMETRIC))
    strength[:, augment.PHOTOMETRIC.index("posterize")] = 1.0
    poster = augment._photometric(x, strength)
    assert len(set((poster * 1000).round().flatten().tolist())) <= 16
    assert poster.max() <= 1.0
    strength = torch.zeros(12, len(augment.PHOTOMETRIC))
    strength[:, augment.PHOTOMETRIC.index("solarize")] = 0.5
    solar = augment._photometric(x, strength)
    expected = torch.where(x >= 0.5, 1.0 - x, x)
    clear = (x - 0.5).abs() > 1e-3
    torch.testing.assert_close(solar[clear], expected[clear], atol=1e-5, rtol=0)


def test_rotation_turns_about_the_centre() -> None:
    x = torch.zeros(1, 3, 33, 33)
    x[:, :, 16, 4:29] = 1.0  # a lying bar through the centre
    strength = torch.zeros(1, len(augment.GEOMETRIC))
    strength[0, augment.GEOMETRIC.index("rotate")] = 1.0
    turned = augment._geometric(x, strength)[0, 0]
    assert turned[16, 16] > 0.9
    row_left, row_right = (int(turned[:, column].argmax()) for column in (8, 24))
    assert abs(row_left - row_right) == pytest.approx(16 * 0.577, abs=1.5)  # tan 30 degrees


def test_cutout_is_a_grey_square_of_at_most_the_asked_side() -> None:
    x = torch.ones(50, 3, 32, 32)
    cut = augment._cutout(x, 0.5, seeded()) == augment.GREY
    rows, columns = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert int(rows.max()) in range(13, 18)
    assert int(columns.max()) <= 17
    assert torch.equal(cut[:, 0].sum((1, 2)), rows * columns)
    assert not (augment._cutout(x, 0.0, seeded()) == augment.GREY).any()


def test_full_jitter_inverts_every_image() -> None:
    x = torch.zeros(20, 8, 8, 3, dtype=torch.uint8)
    assert (labelled_view(x, seeded(), colour_jitter=0.0) == 0.0).all()
    inverted = labelled_view(x, seeded(), colour_jitter=1.0)
    assert (inverted.amax((1, 2, 3)) > 0.0).all()
