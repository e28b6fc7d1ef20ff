"""What an exported graph answers to the images that represent the domains of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from redshank.dataset import Item, Manifest
from redshank.onnx_session import run_session
from redshank.run import Run

from .images import pixel_chunks, scene_name, scene_weights
from .references import DomainAnswers

Items: TypeAlias = Mapping[str, Sequence[Item]]


def all_answers(
    session: Any, run: Run, manifest: Manifest, items: Items
) -> dict[str, DomainAnswers]:
    """Answers to the items of each domain, in their order."""
    return {
        domain: domain_answers(session, run, manifest, domain, chosen)
        for domain, chosen in items.items()
    }


def domain_answers(
    session: Any, run: Run, manifest: Manifest, domain: str, items: Sequence[Item]
) -> DomainAnswers:
    """Answers to the items of one domain."""
    size = run.backbone.image_size
    parts = [
        run_session(session, pixels)
        for pixels in pixel_chunks(manifest, items, height=size, width=size)
    ]
    shapes = ((0, len(run.classes)), (0, run.backbone.embedding_dim))
    logits, embedding = (
        np.concatenate([np.zeros(shape, np.float32), *(part[i] for part in parts)])
        for i, shape in enumerate(shapes)
    )
    return DomainAnswers(
        logits_NC=logits,
        embedding_NE=embedding,
        label_N=np.array([manifest.class_index(item.label) for item in items], dtype=np.int64),
        scene_N=np.array([f"{domain} {scene_name(item, n)}" for n, item in enumerate(items)]),
        weight_N=scene_weights(items),
    )
