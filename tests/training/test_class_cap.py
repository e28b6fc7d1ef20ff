from __future__ import annotations

import pytest
import torch

from redshank.nn.pseudo_labels import PseudoLabels
from training.class_cap import capped


def pseudo(label: list[int], confidence: list[float], weight: list[float]) -> PseudoLabels:
    return PseudoLabels(torch.tensor(label), torch.tensor(weight), torch.tensor(confidence))


def test_most_confident_of_each_class_stay() -> None:
    found = pseudo(
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0.9, 0.99, 0.8, 0.95, 0.9, 0.7, 0.99, 0.97],
        [1, 1, 1, 1, 1, 0, 1, 1],
    )
    rows = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0], dtype=torch.bool)  # the last two: another domain
    kept = capped(found, rows, 2, 2 / 3)  # 6 rows, 2 classes: 2 a class
    assert kept.weight_B.tolist() == [0, 1, 0, 1, 1, 0, 1, 1]
    assert torch.equal(kept.label_B, found.label_B)


def test_equals_a_naive_count_on_random_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    cut = 0
    for _ in range(50):
        label = torch.randint(0, 3, (20,), generator=generator)
        confidence = torch.rand(20, generator=generator)
        weight = (torch.rand(20, generator=generator) > 0.2).float()
        rows = torch.rand(20, generator=generator) > 0.4
        kept = capped(PseudoLabels(label, weight, confidence), rows, 3, 0.8)
        cap = max(1, -(-0.8 * int(rows.sum()) // 3))
        for row in range(20):
            rivals = [
                other
                for other in range(20)
                if rows[other]
                and weight[other] > 0
                and label[other] == label[row]
                and confidence[other] > confidence[row]
            ]
            stays = not rows[row] or len(rivals) < cap
            assert kept.weight_B[row] == weight[row] * stays
            cut += not stays
    assert cut > 20


def test_a_class_may_always_have_one_image() -> None:
    found = pseudo([0, 0, 1], [0.9, 0.8, 0.9], [1, 1, 1])
    assert capped(found, torch.ones(3, dtype=torch.bool), 100, 1.0).weight_B.tolist() == [1, 0, 1]


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_chosen_and_nothing_in_use_change_nothing(rows: int) -> None:
    found = pseudo([0, 0, 1], [0.9, 0.8, 0.9], [0, 0, 0])
    chosen = torch.arange(3) < rows
    assert capped(found, chosen, 2, 1.0).weight_B.tolist() == [0, 0, 0]
