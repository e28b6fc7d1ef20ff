from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from training.draws import Draws, Share
from training.style import (
    Neighbours,
    StyleShares,
    mix_amplitudes,
    mix_statistics,
    partners,
    styled,
)

NAMES = ("fourier", "channel_statistics", "random_convolution", "texture")


def images(size: int = 12, pixels: int = 16) -> Tensor:
    """Each noise of its own contrast and brightness."""
    generator = seeded(7).generator
    contrast, brightness = torch.rand(2, size, 3, 1, 1, generator=generator).unbind(0)
    noise = torch.rand(size, 3, pixels, pixels, generator=generator)
    return 0.1 + 0.3 * brightness + (0.1 + 0.4 * contrast) * noise


def domains(size: int = 12) -> Tensor:
    return torch.arange(size) % 3


def seeded(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


def shares(name: str, share: float = 1.0) -> StyleShares:
    return StyleShares(**{name: share})


def view(x: Tensor, domain: Tensor, draws: Draws, chosen: StyleShares) -> Tensor:
    return styled(x, Neighbours(as_uint8(x), domain), draws, chosen)


def as_uint8(x: Tensor) -> Tensor:
    return (255.0 * x).round().byte().permute(0, 2, 3, 1)


def test_all_shares_zero_change_nothing_and_draw_nothing() -> None:
    x, draws = images(), seeded()
    before = draws.generator.get_state()
    assert view(x, domains(), draws, StyleShares()) is x
    assert torch.equal(draws.generator.get_state(), before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pixels", [16, 33])
def test_styles_are_deterministic_in_range_and_leave_the_images_alone(
    name: str, pixels: int
) -> None:
    x = images(pixels=pixels)
    before = x.clone()
    first, second, other = (
        view(x, domains(), seeded(number), shares(name)) for number in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(x, before)
    assert first.shape == x.shape
    assert first.dtype == torch.float32
    assert first.isfinite().all()
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    assert ((first - x).abs().amax((1, 2, 3)) > 1e-3).sum() >= 11  # a factor may be close to 0


@pytest.mark.parametrize("name", NAMES)
def test_about_the_asked_share_of_images_changes(name: str) -> None:
    x = images(400, 8)
    changed = (view(x, domains(400), seeded(), shares(name, 0.3)) != x).flatten(1).any(1)
    assert 80 < int(changed.sum()) < 160  # 120 +- 4 standard deviations


@pytest.mark.parametrize("name", NAMES)
def test_flat_and_absent_images_are_no_error(name: str) -> None:
    flat = torch.full((6, 3, 16, 16), 0.5)
    flat[3:] = 0.0
    found = view(flat, torch.arange(6), seeded(), shares(name))
    assert found.isfinite().all()
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    few = view(flat, torch.arange(6), seeded(), shares(name, 1e-6))
    assert torch.equal(few, flat)
    assert view(flat[:0], torch.arange(0), seeded(), shares(name)).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("name", ["random_convolution", "texture"])
def test_random_styles_do_not_depend_on_the_other_images(name: str) -> None:
    x = images()
    replaced = x.clone()
    replaced[5] = 1.0 - x[5]
    first = view(x, domains(), seeded(), shares(name, 0.7))
    second = view(replaced, domains(), seeded(), shares(name, 0.7))
    same = (first - second).abs().amax((1, 2, 3)) == 0.0
    assert same.tolist() == [number != 5 for number in range(12)]


@pytest.mark.parametrize("name", ["fourier", "channel_statistics"])
def test_mixing_depends_on_the_image_and_its_partner_only(name: str) -> None:
    x = images()
    replaced = x.clone()
    replaced[5] = images(13)[12]
    partner = partners(domains(), seeded())
    first = view(x, domains(), seeded(), shares(name))
    second = view(replaced, domains(), seeded(), shares(name))
    same = (first - second).abs().amax((1, 2, 3)) == 0.0
    assert same.tolist() == [5 not in (number, int(partner[number])) for number in range(12)]


def test_partners_are_of_another_domain_and_equally_often_each() -> None:
    domain = torch.tensor([0, 0, 1, 2, 2])
    draws, counts = seeded(), Counter[int]()
    for _ in range(600):
        partner = partners(domain, draws)
        assert (domain[partner] != domain).all()
        counts[int(partner[0])] += 1
    assert set(counts) == {2, 3, 4}
    assert min(counts.values()) > 150  # 200 expected, 4 standard deviations are 46


@pytest.mark.parametrize("name", ["fourier", "channel_statistics"])
def test_an_only_domain_keeps_its_style(name: str) -> None:
    x = images()
    alone = torch.zeros(12, dtype=torch.int64)
    assert partners(alone, seeded()).tolist() == [-1] * 12
    assert torch.equal(view(x, alone, seeded(), shares(name)), x)


def test_amplitudes_equal_the_naive_mix_of_each_channel() -> None:
    x, other, factor = images(), images().flip(0), torch.rand(12, generator=seeded().generator)
    found = mix_amplitudes(x, other, factor).numpy()
    for image in range(12):
        for channel in range(3):
            own = np.fft.fft2(x[image, channel].double().numpy())
            borrowed = np.fft.fft2(other[image, channel].double().numpy())
            share = float(factor[image])
            amplitude = (1 - share) * np.abs(own) + share * np.abs(borrowed)
            mixed = np.fft.ifft2(amplitude * np.exp(1j * np.angle(own)))
            assert np.abs(mixed.imag).max() < 1e-9
            expected = mixed.real.clip(0, 1)
            np.testing.assert_allclose(found[image, channel], expected, atol=1e-5)


def test_statistics_equal_the_naive_mix_of_each_channel() -> None:
    x, other, factor = (
        images(),
        images().flip(0).square(),
        torch.rand(12, generator=seeded().generator),
    )
    found = mix_statistics(x, other, factor).numpy()
    for image in range(12):
        for channel in range(3):
            own, borrowed = x[image, channel].numpy(), other[image, channel].numpy()
            share = float(factor[image])
            mean = (1 - share) * own.mean() + share * borrowed.mean()
            spread = (1 - share) * own.std() + share * borrowed.std()
            expected = ((own - own.mean()) / own.std() * spread + mean).clip(0, 1)
            np.testing.assert_allclose(found[image, channel], expected, atol=1e-5)


@pytest.mark.parametrize("mix", [mix_amplitudes, mix_statistics])
def test_factor_zero_is_the_identity(mix: object) -> None:
    assert callable(mix)
    mixed = mix(images(), images().flip(0), torch.zeros(12))
    torch.testing.assert_close(mixed, images(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_a_step_see_what_one_process_sees(name: str) -> None:
    x = images()
    whole = view(x, domains(), seeded(), shares(name))
    neighbours = Neighbours(as_uint8(x), domains())
    parts = []
    for first, size in ((0, 5), (5, 7)):
        draws = Draws(seeded().generator, Share(first, size, 12))
        parts.append(styled(x[first : first + size], neighbours, draws, shares(name)))
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=0)
