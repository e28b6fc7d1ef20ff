"""Scenes: near-duplicate frames of one domain are one unit of evidence.

Twenty frames of one bird are not twenty birds. Without scene weights every sequential detector we
measured raised a false alarm on bursty but healthy traffic; with weights 1 / scene size none did.
A scene is a sequence id given by the client; without one, frames of the same client that follow
each other within `gap_s` seconds and `distance` bits of difference hash. The field store keeps one
image of a scene by the same rule (`redshank/field_scenes.py`).

Frames that continue a scene of an earlier tick weigh 0: the scene has been counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from redshank.cells import FloatArray
from redshank.field_scenes import Frame, hash_distance

MOST_OPEN_SCENES = 2000
"""Open scenes remembered a domain; beyond, the oldest are forgotten."""


class OpenScene(NamedTuple):
    """A scene that later frames may still continue; one with a sequence id needs no more."""

    last_at_s: float
    client: str
    sequence_id: str
    dhash: str


@dataclass(frozen=True)
class Weighted:
    """Result of `weigh_frames`."""

    weights_N: FloatArray
    """1 / scene size in this tick; 0 for a scene that an earlier tick counted."""
    scenes: int
    """New scenes = sum of the weights."""
    open_scenes: tuple[OpenScene, ...]


def weigh_frames(
    frames: Sequence[Frame],
    open_scenes: Sequence[OpenScene] = (),
    *,
    gap_s: float,
    distance: int,
    memory_s: float = 60.0,
) -> Weighted:
    """Form the scenes of one tick of one domain.

    Args:
        frames: the tick's frames in order of time.
        open_scenes: what the previous tick returned.
        gap_s: longest pause inside a scene without sequence id.
        distance: largest dHash distance, in bits, to the scene's last frame.
        memory_s: how long a silent sequence id is remembered, at least `gap_s`.
    """
    found = list(open_scenes)
    by_sequence = {s.sequence_id: i for i, s in enumerate(found) if s.sequence_id}
    by_client: dict[str, list[int]] = {}
    for i, scene in enumerate(found):
        if not scene.sequence_id:
            by_client.setdefault(scene.client, []).append(i)
    members = np.empty(len(frames), dtype=np.int64)
    for n, frame in enumerate(frames):
        if frame.sequence_id:
            index = by_sequence.get(frame.sequence_id, len(found))
            if index < len(found) and frame.at_s - found[index].last_at_s > memory_s:
                index = len(found)
            by_sequence[frame.sequence_id] = index
        else:
            recent = by_client.setdefault(frame.client, [])
            recent[:] = [i for i in recent if frame.at_s - found[i].last_at_s <= gap_s]
            index = _nearest(frame, recent, found, distance)
            if index == len(found):
                recent.append(index)
        found[index : index + 1] = [_opened(frame)]
        members[n] = index
    sizes = np.bincount(members, minlength=len(found)).astype(np.float64)
    weights_N = np.where(members >= len(open_scenes), 1.0, 0.0) / np.maximum(sizes[members], 1.0)
    now = frames[-1].at_s if frames else -np.inf
    kept = [s for s in found if now - s.last_at_s <= (memory_s if s.sequence_id else gap_s)]
    kept.sort(key=lambda scene: scene.last_at_s)
    return Weighted(weights_N, len(found) - len(open_scenes), tuple(kept[-MOST_OPEN_SCENES:]))


def _opened(frame: Frame) -> OpenScene:
    """The scene as its newest frame leaves it."""
    if frame.sequence_id:
        return OpenScene(frame.at_s, "", frame.sequence_id, "")
    return OpenScene(frame.at_s, frame.client, "", frame.dhash)


def _nearest(frame: Frame, recent: list[int], found: list[OpenScene], distance: int) -> int:
    """Index of the most similar recent scene, or the next free index."""
    near = [
        (bits, index)
        for index in recent
        if (bits := hash_distance(frame.dhash, found[index].dhash)) <= distance
    ]
    return min(near)[1] if near else len(found)
