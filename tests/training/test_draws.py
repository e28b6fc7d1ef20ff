from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.augment import recoloured, strengthened, weak_view
from training.draws import Draws, Share

from .test_augment import images

KINDS: dict[str, Callable[[Draws, int], Tensor]] = {
    "uniform": lambda draws, size: draws.uniform(size, 3),
    "normal": lambda draws, size: draws.normal(size, 2, 2),
    "integers": lambda draws, size: draws.integers(-4, 5, size, 1),
    "several": lambda draws, size: torch.stack(draws.several(3, size), dim=1),
}
VIEWS: dict[str, Callable[[Draws, slice], Tensor]] = {
    "weak": lambda draws, rows: weak_view(images()[rows], draws, flip=True),
    "labelled": lambda draws, rows: recoloured(weak_view(images()[rows], draws), 0.5, draws),
    "strong": lambda draws, rows: strengthened(weak_view(images()[rows], draws), draws),
}


def draws(share: Share | None = None) -> Draws:
    return Draws(torch.Generator().manual_seed(4), share)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_put_together_are_the_draws_of_one_process(kind: str) -> None:
    whole = KINDS[kind](draws(), 12)
    parts = [
        KINDS[kind](draws(Share(first, size, 12)), size) for first, size in ((0, 5), (5, 4), (9, 3))
    ]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("view", VIEWS)
def test_views_of_shares_are_those_of_one_process(view: str) -> None:
    whole = VIEWS[view](draws(), slice(None))
    parts = []
    for first, size in ((0, 5), (5, 7)):
        share = Share(first, size, 12)
        parts.append(VIEWS[view](draws(share), share.rows))
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=0)


def test_a_share_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="no share of 5"):
        draws(Share(0, 5, 12)).uniform(4)
