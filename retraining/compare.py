"""Champion and challenger on the same images: from bundles and a snapshot to the gate table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from redshank.bundle import FP32
from redshank.dataset import Item, Manifest
from redshank.errors import ConflictError, InputError, IntegrityError
from redshank.healing import Gate
from redshank.image_bytes import Location, read_bytes
from redshank.infer import Model, load_served
from redshank.preprocess import decode_image

from .gates import (
    accuracy_gate,
    agreement_gate,
    class_entropy_gate,
    golden_gate,
    nuclear_norm_gate,
)
from .snapshot import field_items

CHUNK = 256
"""Images decoded and kept in memory at once."""
NUCLEAR_NORM_OFF = 1.0


@dataclass(frozen=True)
class Thresholds:
    """What the gates ask for; see `[retraining.gates]`."""

    accuracy_margin: float
    entropy_drop: float
    min_agreement: float
    nuclear_norm_drop: float
    alpha: float


@dataclass(frozen=True)
class Answers:
    """What two models say about the same N images."""

    champion_class_N: npt.NDArray[np.int64]
    challenger_class_N: npt.NDArray[np.int64]
    champion_probability_NC: npt.NDArray[np.float64]
    challenger_probability_NC: npt.NDArray[np.float64]
    kept_N: npt.NDArray[np.bool_]
    """Which of the wanted images could be read."""


def compare_bundles(
    champion_folder: Path,
    challenger_folder: Path,
    snapshot: Manifest,
    *,
    labels: Mapping[str, str],
    limits: Thresholds,
    stop: Callable[[], bool],
    precision: str = FP32,
) -> tuple[Gate, ...]:
    """The whole gate table.

    Args:
        champion_folder: bundle that answers now.
        challenger_folder: bundle that wants to.
        snapshot: manifest of the healing: validation images of the sources, field images.
        labels: later labels of field images, by image sha256.
        limits: thresholds.
        stop: asked between chunks of images; True gives up with ConflictError.
        precision: in which both answer, fp32 where a bundle lacks it.

    Raises:
        InputError: the champion's bundle is missing, or the classes of the two differ.
        ConflictError: `stop` said so.
    """
    champion = load_served(champion_folder, precision)
    try:
        challenger = load_served(challenger_folder, precision)
        difference, why = challenger.self_test(), ""
    except IntegrityError as error:
        return (golden_gate(None, parity=0.0, why=error.message),)
    if champion.bundle.classes != challenger.bundle.classes:
        raise InputError("champion and challenger know different classes")
    parity = challenger.bundle.parity
    worst = max(parity.logits, parity.embedding)
    gates = [golden_gate(difference, parity=worst, why=why)]
    for domain in snapshot.source_domains:
        items = [i for i in snapshot.items if i.domain == domain and i.split == "val" and i.label]
        answers = answer_both(champion, challenger, snapshot, items, stop=stop)
        label_N = _labels(snapshot, [item.label for item in items])[answers.kept_N]
        gates += _source_gates(domain, answers, label_N, limits)
    fresh = field_items(snapshot)
    # without a field image nothing says that the challenger did not collapse: "" cannot tell
    for domain in sorted({item.domain for item in fresh}) or [""]:
        items = [item for item in fresh if item.domain == domain]
        answers = answer_both(champion, challenger, snapshot, items, stop=stop)
        label_N = _labels(snapshot, [labels.get(i.sha256, "") for i in items])[answers.kept_N]
        gates += _field_gates(domain, answers, label_N, len(snapshot.classes), limits)
    return tuple(gates)


def answer_both(
    champion: Model,
    challenger: Model,
    manifest: Manifest,
    items: Sequence[Item],
    *,
    stop: Callable[[], bool],
) -> Answers:
    """Both models' answers to the images that can be read."""
    kept: list[bool] = []
    parts: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    for start in range(0, len(items), CHUNK):
        if stop():
            raise ConflictError("the comparison was stopped")
        places = [manifest.image_location(item) for item in items[start : start + CHUNK]]
        pairs = [_read_for_both(place, champion, challenger) for place in places]
        kept += [pair is not None for pair in pairs]
        good = [pair for pair in pairs if pair is not None]
        if good:
            old, new = (np.stack(images) for images in zip(*good, strict=True))
            parts.append(
                (champion.predict(old).probabilities_NC, challenger.predict(new).probabilities_NC)
            )
    empty = np.zeros((0, len(champion.bundle.classes)))
    old_NC = np.concatenate([part[0] for part in parts]) if parts else empty
    new_NC = np.concatenate([part[1] for part in parts]) if parts else empty
    kept_N = np.array(kept, dtype=bool)
    return Answers(old_NC.argmax(axis=1), new_NC.argmax(axis=1), old_NC, new_NC, kept_N)


def _source_gates(
    domain: str, answers: Answers, label_N: npt.NDArray[np.int64], limits: Thresholds
) -> list[Gate]:
    old_N, new_N = answers.champion_class_N, answers.challenger_class_N
    return [
        accuracy_gate(
            "source_validation",
            domain,
            old_N,
            new_N,
            label_N,
            margin=limits.accuracy_margin,
            alpha=limits.alpha,
        ),
        agreement_gate(domain, old_N, new_N, min_agreement=limits.min_agreement),
    ]


def _field_gates(
    domain: str,
    answers: Answers,
    label_N: npt.NDArray[np.int64],
    classes: int,
    limits: Thresholds,
) -> list[Gate]:
    old_N, new_N = answers.champion_class_N, answers.challenger_class_N
    gates = [
        class_entropy_gate(domain, old_N, new_N, classes=classes, max_drop=limits.entropy_drop)
    ]
    if limits.nuclear_norm_drop < NUCLEAR_NORM_OFF:
        gates.append(
            nuclear_norm_gate(
                domain,
                answers.champion_probability_NC,
                answers.challenger_probability_NC,
                max_drop=limits.nuclear_norm_drop,
            )
        )
    known_N = label_N >= 0
    if known_N.any():
        gates.append(
            accuracy_gate(
                "field_labels",
                domain,
                old_N[known_N],
                new_N[known_N],
                label_N[known_N],
                margin=limits.accuracy_margin,
                alpha=limits.alpha,
            )
        )
    return gates


def _labels(manifest: Manifest, names: Iterable[str]) -> npt.NDArray[np.int64]:
    """Class indices; -1 for no label and for names that are no class."""
    known = {name: index for index, name in enumerate(manifest.classes)}
    return np.array([known.get(name, -1) for name in names], dtype=np.int64)


def _read_for_both(
    place: Location, champion: Model, challenger: Model
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    """The image as each model wants it; None when it cannot be read."""
    old, new = champion.bundle.input, challenger.bundle.input
    try:
        data = read_bytes(place)
        image = decode_image(data, old.height, old.width)
        if (new.height, new.width) == (old.height, old.width):
            return image, image
        return image, decode_image(data, new.height, new.width)
    except (InputError, OSError):
        return None
