from collections.abc import Sequence

import numpy as np
import pytest
import torch

from export.golden import synthetic_images
from export.parity import (
    Array,
    checked_parity,
    format_table,
    network_answers,
    parity_table,
)
from redshank.bundle import ParityRow
from redshank.errors import IntegrityError
from redshank.infer import calibrated
from redshank.nn.backbones import Backbone, build_backbone

IMAGES = {"synthetic": synthetic_images(6, 32, 32)}


@pytest.fixture(scope="module")
def network() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("small_cnn", 4, width=4).eval()


class Shifted:
    """Answers as the network does, with an error on the logits of one image."""

    def __init__(self, network: Backbone, error: float) -> None:
        self.network, self.error = network, error

    def run(self, names: Sequence[str], inputs: dict[str, Array]) -> list[Array]:
        assert list(names) == ["logits", "embedding"]
        logits, embedding = network_answers(self.network, inputs["image"])
        logits[0, 0] += self.error
        return [logits, embedding]


def rows(network: Backbone, error: float) -> tuple[ParityRow, ...]:
    return parity_table(
        network, Shifted(network, error), IMAGES, temperature=2.0, batch_sizes=(1, 40)
    )


def test_the_table_shows_the_error_everywhere_it_occurs(network: Backbone) -> None:
    table = rows(network, 0.25)
    assert [(r.name, r.images) for r in table] == [
        ("synthetic", 6),
        ("batch of 1", 1),
        ("batch of 40", 40),
    ]
    assert [r.logits for r in table] == pytest.approx([0.25] * 3, abs=1e-6)
    assert [r.embedding for r in table] == [0.0] * 3
    logits, _ = network_answers(network, IMAGES["synthetic"])
    off = logits.copy()
    off[0, 0] += 0.25
    change = np.abs(calibrated(off, 2.0) - calibrated(logits, 2.0)).max()
    assert table[0].confidence == pytest.approx(change, abs=1e-6)


def test_within_tolerance_is_recorded(network: Backbone) -> None:
    parity = checked_parity(rows(network, 1e-3), tolerance=1e-2)
    assert parity.logits == pytest.approx(1e-3, rel=1e-3)
    assert (parity.images, parity.argmax_agreement, parity.tolerance) == (6, 1.0, 1e-2)


@pytest.mark.parametrize("error", [0.02, 10.0, float("nan"), float("inf")])
def test_beyond_tolerance_is_refused_with_the_table(network: Backbone, error: float) -> None:
    table = rows(network, error)
    with pytest.raises(IntegrityError, match="batch of 40") as caught:
        checked_parity(table, tolerance=1e-2)
    assert format_table(table) in caught.value.message


def test_another_class_is_refused_whatever_the_tolerance(network: Backbone) -> None:
    with pytest.raises(IntegrityError):
        checked_parity(rows(network, 10.0), tolerance=100.0)


def test_large_values_are_compared_relatively(network: Backbone) -> None:
    large = build_backbone("small_cnn", 4, width=4).eval()
    large.load_state_dict(network.state_dict())
    assert isinstance(large.head, torch.nn.Linear)
    with torch.no_grad():
        large.head.weight.mul_(1e4)
        large.head.bias.mul_(1e4)
    logits, _ = network_answers(large, IMAGES["synthetic"])
    assert rows(large, 1.0)[0].logits == pytest.approx(1 / np.abs(logits).max(), rel=1e-2)


def test_synthetic_images_are_equal_everywhere_and_differ_from_each_other() -> None:
    images = synthetic_images(8, 20, 31)
    assert images.shape == (8, 20, 31, 3)
    np.testing.assert_array_equal(images, synthetic_images(8, 20, 31))
    assert len(np.unique(images.reshape(8, -1), axis=0)) == 8
    assert (images[3][:8, :8] == images[3][0, 0]).all()
