from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from redshank.nn import BASE_METHODS, Rule
from training.batches import Batch
from training.step import fixclr_weights
from training.teacher import Teacher

SHARE = torch.tensor([0.5, 0.25, 0.25])


def teacher(method: str = "fixmatch", **options: Any) -> Teacher:
    return Teacher(
        BASE_METHODS[method],
        Rule(threshold=0.8, momentum=0.5),
        label_share_C=SHARE,
        num_domains=3,
        num_images=10,
        device=torch.device("cpu"),
        **options,
    )


def batch(domain_U: Tensor) -> Batch:
    rows = len(domain_U)
    none = torch.zeros(0, 3, 4, 4)
    number = torch.arange(rows) % 10
    return Batch(none, number[:0], none, none, number, number[:0], domain_U, number)


def test_without_switches_the_base_method_alone_decides() -> None:
    logits = 3 * torch.randn(12, 3)
    pseudo = teacher().teach(logits, batch(torch.arange(12) % 3), 0)
    confidence, label = logits.softmax(1).max(1)
    assert torch.equal(pseudo.label_B, label)
    assert torch.equal(pseudo.weight_B, (confidence >= 0.8).float())


def test_alignment_moves_each_domain_by_its_own_prior() -> None:
    torch.manual_seed(0)
    bias = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    domain = torch.arange(3).repeat_interleave(100)
    logits = torch.randn(300, 3) + bias[domain]
    shares = {}
    for alignment in ("off", "global", "domain"):
        one = teacher(alignment=alignment)
        for step in range(20):
            pseudo = one.teach(logits, batch(domain), step)
        shares[alignment] = [
            (pseudo.label_B[domain == d] == d).float().mean().item() for d in (0, 1)
        ]
    assert min(shares["off"]) > 0.9
    assert shares["global"][1] > 0.8  # one prior for all cannot see opposite biases
    assert max(shares["domain"]) < 0.85


def test_warm_up_keeps_the_fixed_threshold() -> None:
    one, logits = teacher("softmatch", warm_up_steps=2), 2 * torch.randn(12, 3)
    fixed = (logits.softmax(1).max(1).values >= 0.8).float()
    weights = [
        one.teach(logits, batch(torch.zeros(12, dtype=torch.int64)), s).weight_B for s in range(3)
    ]
    assert torch.equal(weights[0], fixed)
    assert torch.equal(weights[1], fixed)
    assert not torch.equal(weights[2], fixed)


def test_caps_and_drops_touch_target_domains_only() -> None:
    one = teacher(target_domains=(2,), class_cap=1.0)
    domain = torch.tensor([0] * 6 + [2] * 6)
    logits = torch.tensor([9.0, 0.0, 0.0]).repeat(12, 1)  # all sure of class 0
    pseudo = one.limited(one.teach(logits, batch(domain), 0), domain)
    assert pseudo.weight_B.tolist() == [1] * 6 + [1, 1] + [0] * 4  # 6 images, 3 classes: 2 each
    one.drop(2)
    pseudo = one.limited(one.teach(logits, batch(domain), 1), domain)
    assert pseudo.weight_B.tolist() == [1] * 6 + [0] * 6


@pytest.mark.parametrize(
    ("confidence", "wanted"), [("none", [1, 1, 1]), ("hard", [1, 0, 1]), ("soft", [0.9, 0.4, 1.0])]
)
def test_weights_in_fixclr(confidence: Any, wanted: list[float]) -> None:
    one, domain = teacher(), torch.tensor([0, 1, 2])
    pseudo = one.teach(torch.zeros(3, 3), batch(domain), 0)._replace(
        weight_B=torch.tensor([1.0, 0.0, 1.0]), confidence_B=torch.tensor([0.9, 0.4, 1.0])
    )
    found = fixclr_weights(pseudo, 2, confidence, one, domain)
    if confidence == "none":
        assert found is None
    else:
        assert found is not None
        assert found.tolist() == pytest.approx([1, 1, *wanted])
    one.drop(2)
    found = fixclr_weights(pseudo, 2, confidence, one, domain)
    assert found is not None
    assert found.tolist() == pytest.approx([1, 1, *wanted[:2], 0])


def test_restored_teacher_goes_on_the_same_way() -> None:
    torch.manual_seed(0)
    domain = torch.arange(12) % 3
    one = teacher("freematch", alignment="domain")
    for step in range(3):
        one.teach(torch.randn(12, 3), batch(domain), step)
    one.drop(1)
    other = teacher("freematch", alignment="domain")
    other.restore({n: t.clone() for n, t in one.tensors().items()}, list(one.dropped))
    logits = torch.randn(12, 3)
    first, second = (t.limited(t.teach(logits, batch(domain), 3), domain) for t in (one, other))
    assert torch.equal(first.weight_B, second.weight_B)
    assert torch.equal(one.prior_SC, other.prior_SC)
    assert other.dropped == (1,)


def test_labelled_rows_leave_no_trace() -> None:
    one = teacher("defixmatch")
    logits, domain = torch.tensor([[9.0, 0.0, 0.0], [0.1, 0.0, 0.0]]), torch.tensor([0, 1])
    pseudo = one.teach_labelled(logits, domain)
    assert pseudo.label_B.tolist() == [0, 0]
    assert pseudo.weight_B.tolist() == [1, 0]


def test_labelled_rows_are_aligned_as_unlabelled_ones() -> None:
    """DeFixMatch takes off the loss that it put on: equal rows must get equal pseudo-labels."""
    torch.manual_seed(0)
    one, domain = teacher("defixmatch", alignment="domain"), torch.arange(60) % 3
    logits = torch.randn(60, 3) + torch.tensor([3.0, 0.0, 0.0])
    for step in range(5):
        unlabelled = one.teach(logits, batch(domain), step)
    prior = one.prior_SC.clone()
    labelled = one.teach_labelled(logits, domain)
    assert torch.equal(labelled.label_B, unlabelled.label_B)
    assert torch.equal(labelled.weight_B, unlabelled.weight_B)
    assert not torch.equal(labelled.label_B, logits.argmax(1))
    assert torch.equal(one.prior_SC, prior)
