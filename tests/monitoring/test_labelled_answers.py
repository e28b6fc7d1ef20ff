from __future__ import annotations

from collections.abc import Sequence

import pytest

from monitoring.labelled_answers import answers_of
from redshank.events import Event
from redshank.store.control_labels import LabelsGiven
from redshank.store.monitor_rows import LabelledAnswer, StreamKey
from tests.examples import make_event

A, B, C = "a" * 64, "b" * 64, "c" * 64
CLASSES = ("gull", "tern")
PIER, OTHER_VERSION = StreamKey("default", "b1", "pier"), StreamKey("default", "b2", "pier")


def event(digest: str, at_s: float, **more: object) -> Event:
    named = {"image_sha256": digest, "received_at": at_s, "domain": "pier", "model": "default"}
    plain = {"version": "b1", "class_index": 0, "sequence_id": "", "client": "c", "dhash": ""}
    return make_event(**{**named, **plain, **more})


def take(
    events: Sequence[Event],
    labels: dict[str, str],
    before: Sequence[LabelledAnswer] = (),
    *,
    seq: int = 1,
    is_sample: bool = True,
) -> dict[StreamKey, tuple[LabelledAnswer, ...]]:
    known = {PIER, OTHER_VERSION}

    def key_of(one: Event) -> StreamKey | None:
        key = StreamKey(one.model, one.version, one.domain)
        return key if key in known else None

    return answers_of(
        events,
        LabelsGiven(seq, 1000.0 + seq, "ann", labels, is_sample),
        lambda key: before if key == PIER else (),
        key_of=key_of,
        classes_of=lambda _: CLASSES,
        distance=6,
        tick=7,
    )


def test_each_version_is_judged_by_its_own_first_answer() -> None:
    events = [
        event(A, 10.0, class_index=0),
        event(A, 20.0, class_index=1),
        event(A, 30.0, class_index=1, version="b2"),
        event(B, 40.0, domain="forgotten"),
        event(C, 2000.0),  # answered after it was labelled
    ]
    found = take(events, {A: "gull", B: "gull", C: "gull"})
    assert {key: [a.is_right for a in rows] for key, rows in found.items()} == {
        PIER: [True],
        OTHER_VERSION: [False],
    }
    (row,) = found[PIER]
    assert (row.received_s, row.labelled_s, row.tick, row.weight) == (10.0, 1001.0, 7, 1.0)
    assert not take([event(A, 10.0)], {A: "puffin"})[PIER][0].is_right  # no class, so not right


def test_frames_of_a_scene_share_one_weight_also_when_labelled_later() -> None:
    near = [event(d, 10.0 + 5 * n, dhash="00000000000000f0") for n, d in enumerate((A, B, C))]
    first = take(near[:2], {A: "gull", B: "tern"})[PIER]
    assert [row.weight for row in first] == [0.5, 0.5]
    (late,) = take(near[2:], {C: "gull"}, first, seq=2)[PIER]
    assert late.weight == 0.0
    same = [event(d, at_s, sequence_id="walk") for d, at_s in ((A, 10.0), (B, 900.0))]
    assert [row.weight for row in take(same, {A: "gull", B: "gull"})[PIER]] == [0.5, 0.5]
    apart = [event(A, 10.0), event(B, 11.0)]  # without hash and sequence nothing joins them
    assert [row.weight for row in take(apart, {A: "gull", B: "gull"})[PIER]] == [1.0, 1.0]


def test_a_correction_keeps_time_and_weight() -> None:
    events = [event(A, 10.0)]
    (old,) = take(events, {A: "tern"})[PIER]
    (new,) = take(events, {A: "gull"}, [old], seq=2)[PIER]
    assert (new.is_right, new.label, new.seq, new.labelled_s, new.weight) == (
        *(True, "gull", 1, 1001.0),
        1.0,
    )
    (gone,) = take(events, {A: "?"}, [new], seq=3)[PIER]
    assert (gone.weight, gone.label) == (0.0, "?")
    (back,) = take(events, {A: "tern"}, [gone], seq=4)[PIER]
    assert (back.weight, back.seq) == (1.0, 4)


@pytest.mark.parametrize("label", ["?", "gull"])
def test_what_is_unclear_or_was_picked_weighs_nothing(label: str) -> None:
    (row,) = take([event(A, 10.0)], {A: label}, is_sample=label == "?")[PIER]
    assert row.weight == 0.0
    (drawn,) = take([event(A, 10.0)], {A: "gull"}, [row], seq=2)[PIER]
    assert (drawn.weight, drawn.is_right) == (1.0, True)
