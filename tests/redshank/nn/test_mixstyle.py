from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from redshank.nn.backbones import build_backbone
from redshank.nn.mixstyle import MixStyle, add_mixstyle, beta, mix_statistics, sampling


def test_statistics_are_mixed_as_in_equations_4_to_6() -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(3, 2, 4, 5, dtype=torch.float64) + 1
    partner, own = torch.tensor([2, 0, 1]), torch.tensor([0.3, 1.0, 0.0]).double()
    found = mix_statistics(x, partner, own[:, None, None, None])
    for image in range(3):
        share, other = own[image].item(), int(partner[image])
        for channel in range(2):
            mean, spread = x[image, channel].mean(), (x[image, channel].var() + 1e-6).sqrt()
            other_mean = x[other, channel].mean()
            other_spread = (x[other, channel].var() + 1e-6).sqrt()
            wanted = (x[image, channel] - mean) / spread
            wanted = wanted * (share * spread + (1 - share) * other_spread)
            wanted = wanted + share * mean + (1 - share) * other_mean
            torch.testing.assert_close(found[image, channel], wanted)


def test_gradient_passes_as_if_statistics_were_constants() -> None:
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    own = torch.tensor([0.25, 0.5], dtype=torch.float64)[:, None, None, None]
    mix_statistics(x, torch.tensor([1, 0]), own).sum().backward()  # type: ignore[no-untyped-call]
    spread = (x.detach().var(dim=(2, 3), keepdim=True) + 1e-6).sqrt()
    mixed = own * spread + (1 - own) * spread[[1, 0]]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (mixed / spread).expand_as(x))


def test_beta_draws_have_the_right_moments() -> None:
    drawn = beta(20000, 0.1, Generator().manual_seed(0))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(0.25 / 1.2, abs=0.01)  # 1 / (4 (2 alpha + 1))


def test_probability_decides_over_whole_batches() -> None:
    torch.manual_seed(0)
    layer, x = MixStyle(0.5), torch.randn(8, 2, 3, 3)
    with sampling(layer, Generator().manual_seed(0)):
        changed = [not torch.allclose(layer(x), x, atol=1e-4) for _ in range(200)]
    assert 70 < sum(changed) < 130


@pytest.mark.parametrize(("name", "pixels"), [("small_cnn", 32), ("resnet18", 64)])
def test_network_keeps_its_names_and_is_the_same_outside_sampling(name: str, pixels: int) -> None:
    torch.manual_seed(0)
    plain = build_backbone(name, 3, width=4).train()
    styled = build_backbone(name, 3, width=4).train()
    add_mixstyle(styled.features, 1.0)
    styled.load_state_dict(plain.state_dict())
    assert sum(isinstance(m, MixStyle) for m in styled.modules()) == 2
    x = torch.rand(6, 3, pixels, pixels)
    with torch.no_grad():
        assert torch.equal(styled(x)[0], plain(x)[0])
        with sampling(styled, Generator().manual_seed(0)):
            assert not torch.allclose(styled(x)[0], plain(x)[0], atol=1e-3)


def test_network_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="MixStyle knows no place in Linear"):
        add_mixstyle(nn.Linear(2, 2), 0.5)
