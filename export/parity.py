"""Does the exported graph answer as the trained network does? Refused when it does not.

The network is asked as training's evaluation asks it (floats in [0, 1]), the graph as a server asks
it (uint8). Differences are absolute where values are below 1 and relative to the largest value
above. Shapes: N images, C classes, E features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from redshank.bundle import Parity, ParityRow
from redshank.errors import IntegrityError
from redshank.infer import calibrated
from redshank.nn.backbones import Backbone
from redshank.onnx_session import run_session

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
TORCH_CHUNK = 32
MIN_AGREEMENT = 0.99
"""Least share of equal classes: within the tolerance only ties can differ."""


def network_answers(network: Backbone, images_NHW3: Pixels) -> tuple[Array, Array]:
    """logits_NC and embedding_NE of the trained network in torch, float32."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images_NHW3), TORCH_CHUNK):
            pixels = torch.from_numpy(images_NHW3[start : start + TORCH_CHUNK])
            logits, embedding = network(pixels.permute(0, 3, 1, 2).float() / 255.0)
            parts.append((logits.numpy(), embedding.numpy()))
    logits_NC, embedding_NE = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits_NC, embedding_NE


def parity_table(
    network: Backbone,
    session: Any,
    images_by_name: Mapping[str, Pixels],
    *,
    temperature: float,
    batch_sizes: tuple[int, ...],
) -> tuple[ParityRow, ...]:
    """Compare per domain (in chunks) and per batch size (one run of exactly that size).

    Args:
        network: in evaluation mode, on the CPU.
        session: of the exported file.
        images_by_name: real images per domain, and synthetic ones under a name of their own.
        temperature: for the difference of confidence.
        batch_sizes: among them 1 and the largest that is promised.
    """
    expected = {name: network_answers(network, x) for name, x in images_by_name.items()}
    rows = [
        _row(name, expected[name], run_session(session, images), temperature)
        for name, images in images_by_name.items()
    ]
    pool = np.concatenate(list(images_by_name.values()))
    logits = np.concatenate([answer[0] for answer in expected.values()])
    embedding = np.concatenate([answer[1] for answer in expected.values()])
    for size in batch_sizes:
        chosen = np.arange(size) % len(pool)
        found = session.run(["logits", "embedding"], {"image": pool[chosen]})
        answers = (logits[chosen], embedding[chosen])
        rows.append(_row(f"batch of {size}", answers, (found[0], found[1]), temperature))
    return tuple(rows)


def checked_parity(table: tuple[ParityRow, ...], *, tolerance: float) -> Parity:
    """The worst of the table, when it may be published.

    Raises:
        IntegrityError: a difference above `tolerance`, or another class; the message is the table.
    """
    images = sum(row.images for row in table if not row.name.startswith("batch of"))
    parity = Parity(
        images=images,
        logits=float(np.max([row.logits for row in table])),  # max() would drop a NaN
        embedding=float(np.max([row.embedding for row in table])),
        confidence=float(np.max([row.confidence for row in table])),
        argmax_agreement=min(row.argmax_agreement for row in table),
        tolerance=tolerance,
        rows=table,
    )
    within = parity.logits <= tolerance and parity.embedding <= tolerance  # false for NaN
    if not within or parity.argmax_agreement < MIN_AGREEMENT:
        raise IntegrityError(
            f"the exported graph does not answer as the network does (tolerance {tolerance:g}):\n"
            + format_table(table),
            hint="Nothing was published. A larger export.tolerance is a decision, not a repair.",
        )
    return parity


def format_table(table: tuple[ParityRow, ...]) -> str:
    """The table as text."""
    wide = max(len(row.name) for row in table)
    lines = [
        f"{'':<{wide}}{'images':>7}{'logits':>10}{'embedding':>11}{'confidence':>12}{'class':>7}"
    ]
    lines += [
        f"{row.name:<{wide}}{row.images:>7}{row.logits:>10.1e}{row.embedding:>11.1e}"
        f"{row.confidence:>12.1e}{row.argmax_agreement:>7.3f}"
        for row in table
    ]
    return "\n".join(lines)


def _row(
    name: str, expected: tuple[Array, Array], found: tuple[Array, Array], temperature: float
) -> ParityRow:
    same = expected[0].argmax(axis=1) == found[0].argmax(axis=1)
    with np.errstate(invalid="ignore"):  # an infinite logit becomes NaN, which is refused
        confidence = calibrated(expected[0], temperature) - calibrated(found[0], temperature)
    return ParityRow(
        name=name,
        images=len(same),
        logits=difference(expected[0], found[0]),
        embedding=difference(expected[1], found[1]),
        confidence=float(np.abs(confidence).max()),
        argmax_agreement=float(same.mean()),
    )


def difference(expected: Array, found: Array) -> float:
    """Largest |found - expected|, divided by the largest |expected| where that is above 1."""
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(found.astype(np.float64) - expected).max()) / scale
