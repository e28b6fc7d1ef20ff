"""From labels and the events of their images to labelled answers, weighed by scene."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from redshank.events import Event
from redshank.field_scenes import Frame
from redshank.labelled_scenes import scenes_of
from redshank.store.control_labels import UNCLEAR, LabelsGiven
from redshank.store.monitor_rows import LabelledAnswer, StreamKey


def answers_of(
    events: Iterable[Event],
    given: LabelsGiven,
    before: Callable[[StreamKey], Sequence[LabelledAnswer]],
    *,
    key_of: Callable[[Event], StreamKey | None],
    classes_of: Callable[[StreamKey], Sequence[str]],
    distance: int,
    tick: int,
) -> dict[StreamKey, tuple[LabelledAnswer, ...]]:
    """The rows that one lot of labels adds or changes, by stream.

    An image that was answered several times counts once, by its first answer. A correction keeps
    the time and the weight of the label that it corrects. What nobody can tell, and what was not
    drawn at random, weighs nothing, until a later label says more.

    Args:
        events: answers to labelled images, in order of time.
        given: the labels.
        before: rows that a stream has already.
        key_of: stream of an event; None for one that is forgotten.
        classes_of: class names of a stream's model.
        distance: largest dHash distance inside a scene.
        tick: newest tick that was evaluated.
    """
    fresh: dict[StreamKey, dict[str, LabelledAnswer]] = {}
    for event in events:
        label, key = given.labels.get(event.image_sha256), key_of(event)
        if label is None or key is None or event.received_at > given.at_s:
            continue
        if event.image_sha256 not in fresh.setdefault(key, {}):
            row = _row(event, key, label, given, classes_of(key), tick)
            fresh[key][event.image_sha256] = row
    changed = {}
    for key, rows in fresh.items():
        counted = [a for a in before(key) if a.weight > 0 or not given.is_sample]
        known = {answer.image_sha256: answer for answer in counted}
        corrected = [_corrected(known[d], row) for d, row in rows.items() if d in known]
        new = [row for digest, row in rows.items() if digest not in known]
        others = [a for d, a in known.items() if d not in rows]
        weighed = weigh(new, [*others, *corrected], distance=distance) if given.is_sample else new
        changed[key] = (*corrected, *weighed)
    return changed


def weigh(
    new: Sequence[LabelledAnswer], before: Collection[LabelledAnswer], *, distance: int
) -> list[LabelledAnswer]:
    """New answers with their weights: those of a scene share 1, or 0 if it has been counted.

    Args:
        new: rows; those of unclear images weigh 0 and take no share.
        before: rows that were weighed earlier.
        distance: largest dHash distance inside a scene.
    """
    told = [answer for answer in new if answer.label != UNCLEAR]
    frames = {
        a.image_sha256: Frame(a.received_s, a.client, a.sequence_id, a.dhash)
        for a in (*told, *before)
    }
    scene_of = scenes_of(frames, distance=distance)
    counted = {scene_of[a.image_sha256] for a in before if a.weight > 0}
    sizes: dict[int, int] = {}
    for answer in told:
        scene = scene_of[answer.image_sha256]
        sizes[scene] = sizes.get(scene, 0) + 1
    weights = {
        a.image_sha256: 0.0 if (s := scene_of[a.image_sha256]) in counted else 1.0 / sizes[s]
        for a in told
    }
    return [replace(a, weight=weights.get(a.image_sha256, 0.0)) for a in new]


def _row(
    event: Event,
    key: StreamKey,
    label: str,
    given: LabelsGiven,
    classes: Sequence[str],
    tick: int,
) -> LabelledAnswer:
    index = event.class_index
    return LabelledAnswer(
        key=key,
        image_sha256=event.image_sha256,
        seq=given.seq,
        tick=tick,
        labelled_s=given.at_s,
        received_s=event.received_at,
        client=event.client,
        sequence_id=event.sequence_id,
        dhash=event.dhash,
        class_index=index,
        label=label,
        is_right=index < len(classes) and classes[index] == label,
        weight=0.0,
    )


def _corrected(old: LabelledAnswer, new: LabelledAnswer) -> LabelledAnswer:
    """The old row with the new label; an image of which nobody can tell any more weighs nothing."""
    weight = 0.0 if new.label == UNCLEAR else old.weight
    return replace(old, label=new.label, is_right=new.is_right, weight=weight)
