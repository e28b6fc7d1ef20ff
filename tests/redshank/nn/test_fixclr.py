from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from redshank.nn import FixCLRLoss, fixclr_loss
from redshank.nn.fixclr import Rows

B, D, C, Q = 24, 16, 4, 10


def batch(seed: int = 0, size: int = B) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(size, D, generator=rng, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, C, (size,), generator=rng)
    domain = torch.randint(0, 3, (size,), generator=rng)
    weight = torch.rand(size, generator=rng, dtype=torch.float64)
    weight[::5] = 0.0
    return z, y, domain, weight


def naive(
    z: Tensor,
    y: Tensor,
    tau: float,
    domain: Tensor | None = None,
    weight: Tensor | None = None,
    negatives: str = "all",
    keys: Rows | None = None,
) -> Tensor:
    """The equation of docs/fixclr.md, one pair at a time."""
    w = torch.ones(len(z), dtype=z.dtype) if weight is None else weight
    anchors = [
        (z[i], int(y[i]), -9 if domain is None else int(domain[i]), w[i]) for i in range(len(z))
    ]
    others = list(anchors)
    if keys is not None:
        for j in range(len(keys.z_BD)):
            d = -9 if keys.domain_B is None else int(keys.domain_B[j])
            others.append((keys.z_BD[j].detach(), int(keys.y_B[j]), d, torch.tensor(1.0)))
    total, mass = torch.zeros((), dtype=z.dtype), torch.zeros((), dtype=z.dtype)
    for z_i, y_i, d_i, w_i in anchors:
        above, count = torch.zeros((), dtype=z.dtype), torch.zeros((), dtype=z.dtype)
        for z_j, y_j, d_j, w_j in others:
            wanted = {"all": True, "cross": d_i != d_j, "within": d_i == d_j}[negatives]
            if y_j != y_i and wanted and w_j > 0 and w_i > 0:
                cosine = z_i @ z_j / (z_i.norm() * z_j.norm())
                above, count = above + w_j * torch.exp(cosine / tau), count + w_j
        if count > 0:
            total, mass = total + w_i * torch.log(above / count), mass + w_i
    return total / mass


def gradient(loss: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(loss, z)[0]


@pytest.mark.parametrize("negatives", ["all", "cross", "within"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tau", [0.07, 0.5, 3.0])
def test_equals_double_loop(negatives: Any, weighted: bool, tau: float) -> None:
    z, y, domain, weight = batch()
    w = weight if weighted else None
    fast = fixclr_loss(z, y, tau=tau, domain_B=domain, weight_B=w, negatives=negatives)
    slow = naive(z, y, tau, domain, w, negatives)
    assert abs(fast.item() - slow.item()) < 1e-12
    torch.testing.assert_close(gradient(fast, z), gradient(slow, z), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("negatives", ["all", "cross", "within"])
def test_queue_equals_double_loop(negatives: Any) -> None:
    z, y, domain, _ = batch()
    z_q, y_q, domain_q, _ = batch(seed=1, size=Q)
    queue = Rows(z_q, y_q, domain_q)
    fast = fixclr_loss(z, y, domain_B=domain, negatives=negatives, queue=queue)
    slow = naive(z, y, 0.5, domain, None, negatives, queue)
    assert abs(fast.item() - slow.item()) < 1e-12
    fast.backward()  # type: ignore[no-untyped-call]
    assert z_q.grad is None


def test_per_class_equals_double_loop() -> None:
    z, y, _, _ = batch()
    unit = functional.normalize(z, dim=1)
    values = []
    for c in range(C):
        pairs = [
            torch.exp(unit[i] @ unit[j] / 0.5)
            for i in range(B)
            for j in range(B)
            if y[i] == c and y[j] != c
        ]
        values.append(torch.stack(pairs).mean().log())
    expected = torch.stack(values).mean()
    torch.testing.assert_close(fixclr_loss(z, y, per_class=True), expected)


def test_attract_subtracts_the_mean_similarity_to_the_own_class() -> None:
    z, y, _, _ = batch()
    unit = functional.normalize(z, dim=1)
    pulls = []
    for i in range(B):
        own = [unit[i] @ unit[j] / 0.5 for j in range(B) if j != i and y[i] == y[j]]
        pulls.append(torch.stack(own).mean())
    expected = fixclr_loss(z, y) - 0.3 * torch.stack(pulls).mean()
    torch.testing.assert_close(fixclr_loss(z, y, attract=0.3), expected)


def test_weight_zero_is_as_good_as_absent() -> None:
    z, y, _, _ = batch()
    keep = torch.rand(B, generator=torch.Generator().manual_seed(3)) > 0.4
    masked = fixclr_loss(z, y, weight_B=keep)
    torch.testing.assert_close(masked, fixclr_loss(z[keep], y[keep]))
    assert gradient(masked, z)[~keep].abs().max() == 0.0


def test_gradient_lies_in_the_span_of_the_negatives() -> None:
    z = functional.normalize(torch.randn(3, 8, dtype=torch.float64), dim=1).requires_grad_()
    grad = gradient(fixclr_loss(z, torch.tensor([0, 0, 1])), z)
    towards = z[2] - (z[2] @ z[0]) * z[0]  # the only negative, on the tangent of the sphere at z0
    assert functional.cosine_similarity(grad[0], towards, dim=0).item() == pytest.approx(1.0)


def test_optimum_on_free_vectors_is_the_simplex() -> None:
    torch.manual_seed(0)
    classes = 6
    z = torch.randn(classes * 3, 32, requires_grad=True)
    y = torch.arange(classes).repeat(3)
    optimizer = torch.optim.Adam([z], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        fixclr_loss(z, y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    unit = functional.normalize(z.detach(), dim=1)
    cosines, same = unit @ unit.T, y[:, None] == y[None]
    assert cosines[~same].mean().item() == pytest.approx(-1 / (classes - 1), abs=0.005)
    assert cosines[same].mean().item() > 0.995


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 5.0), st.floats(0.01, 100.0))
def test_scale_free_and_bounded(seed: int, tau: float, scale: float) -> None:
    z, y, _, _ = batch(seed, size=8)
    loss = fixclr_loss(z, y, tau=tau)
    assert -1 / tau - 1e-9 <= loss.item() <= 1 / tau + 1e-9  # a log-mean-exp of cosines / tau
    torch.testing.assert_close(fixclr_loss(scale * z, y, tau=tau), loss)
    unit = functional.normalize(z.detach(), dim=1).requires_grad_()
    assert gradient(fixclr_loss(unit, y, tau=tau), unit).norm(dim=1).max() <= 1 / tau + 1e-9


@pytest.mark.parametrize(
    ("labels", "weights"),
    [([2] * 6, None), ([0, 1, 2, 0, 1, 2], [0.0] * 6), ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])],
)
def test_batch_without_negatives_is_a_zero_with_a_graph(labels: Any, weights: Any) -> None:
    z = torch.randn(6, D, requires_grad=True)
    w = None if weights is None else torch.tensor(weights)
    for per_class in (False, True):
        loss = fixclr_loss(z, torch.tensor(labels), weight_B=w, per_class=per_class)
        assert loss.item() == 0.0
        assert gradient(loss, z).abs().max() == 0.0


def test_empty_batch_is_a_zero_with_a_graph() -> None:
    z = torch.zeros(0, D, requires_grad=True)
    loss = fixclr_loss(z, torch.zeros(0, dtype=torch.long), attract=0.5)
    assert loss.item() == 0.0
    assert gradient(loss, z).shape == (0, D)


def test_row_of_zeros_is_neither_anchor_nor_key() -> None:
    z, y, _, _ = batch()
    dead = torch.cat([z, torch.zeros(1, D, dtype=z.dtype)])
    labels = torch.cat([y, y[:1]])
    torch.testing.assert_close(fixclr_loss(dead, labels), fixclr_loss(z, y))
    grad = gradient(fixclr_loss(dead, labels), dead)
    assert grad[-1].abs().max() == 0.0


@pytest.mark.parametrize("tau", [1e-4, 1e-2, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_temperatures_stay_finite(tau: float, dtype: torch.dtype) -> None:
    z64, y, _, weight = batch()
    z = z64.detach().to(dtype).requires_grad_()
    loss = fixclr_loss(z, y, tau=tau, weight_B=weight.to(dtype))
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient(loss, z)).all()


def test_autocast_does_not_lower_the_precision() -> None:
    z64, y, _, _ = batch()
    z = z64.detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = fixclr_loss(z, y, tau=0.05)
    assert inside.item() == fixclr_loss(z, y, tau=0.05).item()


def test_bad_arguments_are_named() -> None:
    z, y, _, _ = batch()
    for tau in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="tau must be positive"):
            fixclr_loss(z, y, tau=tau)
    with pytest.raises(ValueError, match="needs the domain"):
        fixclr_loss(z, y, negatives="cross")
    with pytest.raises(ValueError, match="needs embedding_dim"):
        FixCLRLoss(queue_size=4)
    with pytest.raises(ValueError, match="'corss', expected one of all, cross, within"):
        fixclr_loss(z, y, negatives="corss", domain_B=y)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be 0 or more"):
        FixCLRLoss(queue_size=-1, embedding_dim=4)
    with pytest.raises(ValueError, match="tau must be positive"):
        FixCLRLoss(tau=0.0)


def test_shapes_that_would_be_broadcast_are_refused() -> None:
    """One label for all rows gave no negatives, and a loss of 0 for ever."""
    z, y, domain, weight = batch()
    for name, wrong in (("y_B", y[:1]), ("y_B", y[:, None]), ("y_B", y[:5])):
        with pytest.raises(ValueError, match=f"{name} has the shape"):
            fixclr_loss(z, wrong)
    with pytest.raises(ValueError, match=r"weight_B has the shape \(1,\), expected \[24\]"):
        fixclr_loss(z, y, weight_B=weight[:1])
    with pytest.raises(ValueError, match="domain_B has the shape"):
        FixCLRLoss(negatives="cross")(z, y, domain[:1])
    with pytest.raises(ValueError, match=r"expected \[B, 16\]"):
        fixclr_loss(z, y, queue=Rows(torch.zeros(3, D + 1), torch.zeros(3)))
    with pytest.raises(ValueError, match="features have the shape"):
        fixclr_loss(torch.zeros(B, D, 2, 2), y)


def test_printed_module_says_its_settings() -> None:
    assert "tau=0.2, negatives='cross'" in repr(FixCLRLoss(tau=0.2, negatives="cross"))


def test_module_equals_function_and_its_queue_holds_the_newest_rows() -> None:
    z, y, domain, weight = batch()
    plain = FixCLRLoss(tau=0.2, negatives="cross")
    expected = fixclr_loss(z, y, tau=0.2, negatives="cross", domain_B=domain, weight_B=weight)
    assert plain(z, y, domain, weight).item() == expected.item()

    queued = FixCLRLoss(queue_size=B + 2, embedding_dim=D).double()
    first = queued(z, y, domain)
    assert first.item() == pytest.approx(fixclr_loss(z, y).item())  # empty places are absent
    other, other_y, other_domain, _ = batch(seed=5)
    second = queued(other, other_y, other_domain)
    queue = Rows(z.detach(), y, domain)
    assert second.item() == pytest.approx(fixclr_loss(other, other_y, queue=queue).item())
    assert torch.equal(queued.queue_y_Q, torch.cat([other_y, y[:2]]))
    second.backward()
    queued.eval()
    queued(z, y, domain)
    assert torch.equal(queued.queue_y_Q[:B], other_y)  # evaluation leaves the queue alone


def test_projection_head_gets_a_gradient_and_its_loss_is_that_of_its_output() -> None:
    torch.manual_seed(0)
    loss = FixCLRLoss(embedding_dim=6, projection_dim=3, queue_size=4)
    z, y = torch.randn(8, 6, requires_grad=True), torch.arange(8) % 3
    wanted = fixclr_loss(loss.projection(z), y)
    assert torch.allclose(loss(z, y), wanted)  # the queue is empty yet
    assert loss.queue_z_QD.shape == (4, 3)
    wanted.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in loss.projection.parameters())
    assert not list(FixCLRLoss().parameters())
    with pytest.raises(ValueError, match="needs embedding_dim"):
        FixCLRLoss(projection_dim=3)
