"""Scenes among a few labelled frames of a site.

The rule of all frames (`redshank/field_scenes.py`) closes a scene after a pause of seconds. People
label a few frames of many, so that rule would take each for a scene of its own: here a scene
without sequence id stays open for a minute, and one with a sequence id for a day.
"""

from __future__ import annotations

from collections.abc import Mapping

from redshank.field_scenes import Frame, SceneRule

OPEN_S = 60.0
SEQUENCE_S = 86_400.0


def scenes_of(frames: Mapping[str, Frame], *, distance: int) -> dict[str, int]:
    """Number of the scene of each image; equal numbers are one scene.

    Args:
        frames: digest of an image -> its frame, in any order.
        distance: largest dHash distance, in bits, to the scene's last frame.
    """
    rule = SceneRule(gap_s=OPEN_S, distance=distance, memory_s=SEQUENCE_S)
    open_by: dict[tuple[str, str], list[tuple[Frame, int]]] = {}
    scene_of: dict[str, int] = {}
    in_time = sorted(frames.items(), key=lambda item: (item[1].at_s, item[0]))
    for number, (digest, frame) in enumerate(in_time):
        place = ("", frame.sequence_id) if frame.sequence_id else (frame.client, "")
        recent = [pair for pair in open_by.get(place, []) if rule.is_open(pair[0], frame.at_s)]
        same = [pair for pair in recent if rule.continues(pair[0], frame)]
        scene = same[-1][1] if same else number
        open_by[place] = [pair for pair in recent if pair not in same] + [(frame, scene)]
        scene_of[digest] = scene
    return scene_of
