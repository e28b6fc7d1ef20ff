from __future__ import annotations

import pytest
import torch

from redshank.nn.alignment import MAX_RATIO, aligned_logits, even_prior, updated_prior

DOMAIN = torch.tensor([0, 0, 2, 2, 2])


def test_prior_is_a_running_mean_of_each_domain() -> None:
    torch.manual_seed(0)
    prior = even_prior(3, 4).double()
    expected = prior.tolist()
    for _ in range(4):
        logits = torch.randn(5, 4, dtype=torch.float64)
        prior = updated_prior(prior, logits, DOMAIN, 0.8)
        prob = logits.softmax(1)
        for domain in (0, 2):
            mean = prob[domain == DOMAIN].mean(0).tolist()
            for c in range(4):
                expected[domain][c] = 0.8 * expected[domain][c] + 0.2 * mean[c]
    assert prior.tolist() == [pytest.approx(row) for row in expected]
    assert prior[1].tolist() == [0.25] * 4  # never seen


def test_alignment_multiplies_by_target_over_prior_of_the_own_domain() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64)
    prior = torch.rand(3, 4, dtype=torch.float64) + 0.2
    prior /= prior.sum(1, keepdim=True)
    target = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    found = aligned_logits(logits, prior, DOMAIN, target).softmax(1)
    for row, domain in enumerate(DOMAIN.tolist()):
        powers = [
            p * t / q
            for p, t, q in zip(
                logits[row].softmax(0).tolist(),
                target.tolist(),
                prior[domain].tolist(),
                strict=True,
            )
        ]
        assert found[row].tolist() == pytest.approx([x / sum(powers) for x in powers])


def test_a_biased_domain_is_put_right_and_the_other_left_alone() -> None:
    torch.manual_seed(0)
    bias = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    domain = torch.arange(2).repeat_interleave(500)
    logits = torch.randn(1000, 2) + bias[domain]
    prior = even_prior(2, 2)
    for _ in range(200):
        prior = updated_prior(prior, logits, domain, 0.9)
    label = aligned_logits(logits, prior, domain, torch.tensor([0.5, 0.5])).argmax(1)
    assert (logits.argmax(1)[domain == 0] == 0).float().mean() > 0.95
    assert 0.3 < (label[domain == 0] == 0).float().mean() < 0.7
    same = label[domain == 1] == logits.argmax(1)[domain == 1]
    assert same.float().mean() > 0.95


def test_a_class_that_a_domain_lacks_is_lifted_within_bounds() -> None:
    prior = torch.tensor([[1.0, 0.0]])
    none = torch.zeros(1, dtype=torch.int64)
    found = aligned_logits(torch.zeros(1, 2), prior, none, torch.tensor([0.5, 0.5])).softmax(1)
    assert found[0, 1] / found[0, 0] == pytest.approx(2 * MAX_RATIO)
    assert updated_prior(prior, torch.zeros(0, 2), none[:0], 0.5).tolist() == prior.tolist()


def test_alignment_has_no_gradient() -> None:
    logits = torch.randn(5, 4, requires_grad=True)
    prior = updated_prior(even_prior(3, 4), logits, DOMAIN, 0.9)
    assert not prior.requires_grad
    assert not aligned_logits(logits, prior, DOMAIN, torch.full((4,), 0.25)).requires_grad
