"""Last layers: linear (torch's own) or cosine with weights drawn around their means.

Shapes: B rows, D features, C classes.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional


class StochasticCosineHead(nn.Module):
    """Cosine similarity to one direction a class, over a temperature.

    After the stochastic classifier of StyleMatch (Zhou et al., "Semi-Supervised Domain
    Generalization with Stochastic StyleMatch", IJCV 2023): w = mean + softplus(sigma - 4) * noise,
    logits = cos(z, w) / 0.05. The noise is an ensemble of classifiers in one, against overfitting
    to few labels. It is drawn only while `generator` is set (see `mixstyle.sampling`); evaluation,
    weak views and the exported graph use the means. Means start at length 1, not near 0 as in the
    authors' code, where the first step alone decides their directions.
    """

    def __init__(self, embedding_dim: int, num_classes: int, *, temperature: float = 0.05) -> None:
        super().__init__()
        self.in_features, self.out_features = embedding_dim, num_classes
        self.temperature = temperature
        mean_CD = functional.normalize(torch.randn(num_classes, embedding_dim), dim=1)
        self.mean_CD = nn.Parameter(mean_CD)
        self.sigma_CD = nn.Parameter(torch.zeros(num_classes, embedding_dim))
        self.generator: Generator | None = None

    def forward(self, z_BD: Tensor) -> Tensor:
        """logits_BC in [-1/temperature, 1/temperature]."""
        weight_CD: Tensor = self.mean_CD
        if self.generator is not None:
            noise_CD = torch.randn(
                weight_CD.shape, generator=self.generator, device=weight_CD.device
            )
            weight_CD = weight_CD + functional.softplus(self.sigma_CD - 4.0) * noise_CD
        unit_BD, unit_CD = functional.normalize(z_BD, dim=1), functional.normalize(weight_CD, dim=1)
        return functional.linear(unit_BD, unit_CD) / self.temperature


def build_head(kind: str, embedding_dim: int, num_classes: int) -> nn.Linear | StochasticCosineHead:
    """`linear` or `cosine`.

    Raises:
        ValueError: another name.
    """
    if kind == "linear":
        return nn.Linear(embedding_dim, num_classes)
    if kind == "cosine":
        return StochasticCosineHead(embedding_dim, num_classes)
    raise ValueError(f"unknown head {kind!r}, expected linear or cosine")
