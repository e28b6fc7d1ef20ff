from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Generator, nn

from redshank.nn.backbones import build_backbone
from redshank.nn.checkpoint import load_model, save_model
from redshank.nn.heads import StochasticCosineHead, build_head
from redshank.nn.mixstyle import sampling


def test_logits_are_cosines_over_the_temperature() -> None:
    torch.manual_seed(0)
    head = StochasticCosineHead(5, 3).double()
    z = torch.randn(4, 5, dtype=torch.float64)
    found = head(7.0 * z)  # length does not matter
    for row in range(4):
        for label in range(3):
            mean = head.mean_CD[label].tolist()
            dot = sum(a * b for a, b in zip(z[row].tolist(), mean, strict=True))
            lengths = math.dist(z[row].tolist(), [0.0] * 5) * math.dist(mean, [0.0] * 5)
            assert found[row, label].item() == pytest.approx(dot / lengths / 0.05)


def test_weights_are_drawn_around_their_means_with_softplus_of_sigma_less_four() -> None:
    torch.manual_seed(0)
    head = StochasticCosineHead(2, 3)
    with torch.no_grad():
        head.mean_CD.mul_(0.0).add_(torch.tensor([10.0, 0.0]))  # far out: the angle is linear
        head.sigma_CD.copy_(torch.tensor([[4.0] * 2, [5.0] * 2, [-20.0] * 2]))
    generator, z = Generator().manual_seed(0), torch.tensor([[0.0, 1.0]])
    with sampling(head, generator), torch.no_grad():
        drawn = torch.cat([head(z) for _ in range(4000)]) * 0.05 * 10.0
    wanted = [math.log1p(math.exp(s)) for s in (0.0, 1.0, -24.0)]
    assert drawn.std(0).tolist() == pytest.approx(wanted, rel=0.05, abs=1e-3)
    assert drawn.mean(0).tolist() == pytest.approx([0.0] * 3, abs=0.06)


def test_outside_sampling_the_head_is_deterministic_in_either_mode() -> None:
    torch.manual_seed(0)
    head, z = StochasticCosineHead(5, 3).train(), torch.randn(4, 5)
    first = head(z)
    with sampling(nn.Sequential(head), Generator().manual_seed(0)):
        assert not torch.equal(head(z), first)
        with pytest.raises(RuntimeError):
            head(torch.randn(4, 6))
    assert head.generator is None
    assert torch.equal(head(z), first)
    assert torch.equal(head.eval()(z), first)


def test_equal_generators_draw_equal_weights() -> None:
    torch.manual_seed(0)
    head, z = StochasticCosineHead(5, 3), torch.randn(4, 5)
    drawn = []
    for _ in range(2):
        with sampling(head, Generator().manual_seed(3)):
            drawn.append(head(z))
    assert torch.equal(*drawn)
    drawn[0].sum().backward()
    assert head.sigma_CD.grad is not None
    assert head.sigma_CD.grad.abs().max() > 0


def test_a_network_with_a_cosine_head_is_saved_with_its_kind(tmp_path: Path) -> None:
    model = build_backbone("small_cnn", 4, width=4, head="cosine").eval()
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    assert isinstance(loaded.head, StochasticCosineHead)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(x)[0], model(x)[0])
    assert "head" not in build_backbone("small_cnn", 4, width=4).recipe


def test_unknown_head_is_named() -> None:
    with pytest.raises(ValueError, match="unknown head 'square', expected linear or cosine"):
        build_head("square", 3, 2)
