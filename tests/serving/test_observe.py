"""Events are made for many pictures at once, and are those of each picture alone."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from redshank.events import SCHEMA, Event
from redshank.fingerprint import fingerprint
from redshank.infer import Predictions
from redshank.preprocess import ImageArray
from serving import observe
from serving.engine import Job
from serving.identity import EventIds
from serving.observe import AT_ONCE, MOST_PIXELS, MOST_WAITING, Observer, Seen
from serving.recorder import Recorded

CLASSES = ("red", "green", "blue")
LIVE: Any = SimpleNamespace(
    model=SimpleNamespace(bundle=SimpleNamespace(model="default", classes=CLASSES)),
    version="one",
    role="live",
)


class Scene:
    """An observer whose records can be looked at."""

    def __init__(self, *, watched: bool = True, **others: Any) -> None:
        self.recorded: list[tuple[Event, bytes | None]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seen: list[Seen] = []
        self.lost: list[int] = []
        self.observer = Observer(
            self.record,
            lambda _, domain, outcome, images: self.counts.update({(domain, outcome): images}),
            EventIds(),
            show=self.seen.extend,
            lost=self.lost.append,
            watched=watched,
            **others,
        )

    def record(self, events: Sequence[Recorded]) -> None:
        """Take events as a recorder does."""
        for one in events:
            read = (
                (Event(**json.loads(one)), None) if isinstance(one, str) else (one.event, one.image)
            )
            self.recorded.append(read)

    def answer(self, *jobs: Job[Any], side: int = 16) -> ImageArray:
        """The jobs' random pictures, one run."""
        images_NHW3 = pictures(len(jobs), side)
        self.observer.answered(LIVE, jobs, images_NHW3, predictions(len(jobs)), time.perf_counter())
        for job in jobs:
            job.data = b""  # as the batcher does when it has answered
        return images_NHW3

    @property
    def names(self) -> list[str]:
        return [event.sequence_id for event, _ in self.recorded]


def job(name: str, *, capture: bool = False, shadow: Any = None) -> Job[Any]:
    snapshot: Any = SimpleNamespace(shadow=shadow)
    started = time.perf_counter()
    return Job(
        f"file {name}".encode(), "r", "gate", name, "c", snapshot, 1e9, started, capture, 9.0
    )


def pictures(count: int, side: int) -> ImageArray:
    generator = np.random.default_rng(count * side)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def predictions(count: int) -> Predictions:
    rank_N = np.arange(count) / 4
    return Predictions(
        logits_NC=np.zeros((count, 3), np.float32),
        embedding_NE=np.zeros((count, 2), np.float32),
        probabilities_NC=np.full((count, 3), 1 / 3),
        class_N=np.arange(count) % 3,
        confidence_N=0.5 + rank_N,
        margin_N=0.1 + rank_N,
        novelty_N=0.2 + rank_N,
    )


def test_events_made_together_are_those_of_each_picture() -> None:
    scene = Scene()
    images = [
        *scene.answer(job("a"), job("b", capture=True)),
        *scene.answer(job("c")),
        *scene.answer(job("d"), job("e"), side=24),
        *scene.answer(job("f")),
    ]
    assert scene.recorded == []
    scene.observer.catch_up()
    assert scene.names == list("abcdef")
    for (event, _), image in zip(scene.recorded, images, strict=True):
        found = (event.dhash, event.brightness_mean, event.brightness_spread)
        assert found == fingerprint(image)
        data = f"file {event.sequence_id}".encode()
        assert event.image_sha256 == hashlib.sha256(data).hexdigest()
    assert [kept for _, kept in scene.recorded] == [None, b"file b", None, None, None, None]
    scores = [(e.class_index, e.confidence, e.margin, e.novelty) for e, _ in scene.recorded]
    assert scores[:3] == [(0, 0.5, 0.1, 0.2), (1, 0.75, 0.35, 0.45), (0, 0.5, 0.1, 0.2)]
    ids = [event.event_id for event, _ in scene.recorded]
    assert sorted(set(ids)) == ids


def test_a_run_larger_than_what_is_done_at_once_is_split_and_nothing_mixed_up() -> None:
    scene, count = Scene(), 5 * AT_ONCE // (2 * 16**2) + 3
    images = scene.answer(*(job(str(number)) for number in range(count)))
    scene.observer.catch_up()
    assert scene.names == [str(number) for number in range(count)]
    assert [event.dhash for event, _ in scene.recorded] == [fingerprint(i)[0] for i in images]


def test_only_wanted_images_are_offered() -> None:
    asked: list[tuple[str, float]] = []

    def wants(domain: str, received_at: float) -> bool:
        asked.append((domain, received_at))
        return len(asked) == 2

    scene, late = Scene(wants=wants), job("late", capture=True)
    late.expired = True
    scene.answer(job("a", capture=True), job("b"), late, job("c", capture=True))
    scene.observer.catch_up()
    assert asked == [("gate", 1e9)] * 2
    assert [kept for _, kept in scene.recorded] == [None, None, None, b"file c"]


def test_every_field_is_in_its_place() -> None:
    scene = Scene()
    (image_HW3,) = scene.answer(job("a"))
    scene.observer.catch_up()
    ((event, _),) = scene.recorded
    dhash, mean, spread = fingerprint(image_HW3)
    assert event == Event(
        schema=SCHEMA,
        event_id=event.event_id,
        received_at=1e9,
        domain="gate",
        model="default",
        version="one",
        role="live",
        outcome="ok",
        class_index=0,
        confidence=0.5,
        margin=0.1,
        novelty=0.2,
        dhash=dhash,
        brightness_mean=mean,
        brightness_spread=spread,
        sequence_id="a",
        client="c",
        latency_ms=event.latency_ms,
        image_sha256=hashlib.sha256(b"file a").hexdigest(),
        stored=False,
    )
    assert event.event_id.count("-") == 2
    assert 0 < event.latency_ms < 5000


def test_images_are_counted_at_once_and_latency_ends_with_the_answer() -> None:
    scene = Scene()
    scene.answer(job("a"), job("b"))
    assert scene.counts == {("gate", "ok"): 2}
    time.sleep(0.05)
    scene.observer.catch_up()
    assert max(event.latency_ms for event, _ in scene.recorded) < 50


def test_enough_pixels_are_not_waited_for_any_longer() -> None:
    scene, runs = Scene(), MOST_PIXELS // 64**2
    for number in range(runs - 1):
        scene.answer(job(str(number)), side=64)
    assert scene.recorded == []
    scene.answer(job("last"), side=64)
    assert len(scene.recorded) == runs


def test_large_files_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "MOST_BYTES", 10)
    scene = Scene()
    scene.answer(job("a"))
    assert scene.recorded == []
    scene.answer(job("b"))
    assert scene.names == ["a", "b"]


def test_refusals_keep_their_place_and_hold_no_bytes() -> None:
    scene, broken = Scene(), job("broken")
    scene.answer(job("before"))
    scene.observer.refused(broken, LIVE, "invalid_image", was_read=True)
    scene.answer(job("after"))
    assert broken.data == b""
    scene.observer.catch_up()
    assert scene.names == ["before", "broken", "after"]
    event, kept = scene.recorded[1]
    assert (event.outcome, event.class_index, event.dhash) == ("invalid_image", -1, "")
    assert event.image_sha256 == hashlib.sha256(b"file broken").hexdigest()
    assert kept is None
    assert scene.counts == {("gate", "ok"): 2, ("gate", "invalid_image"): 1}


def test_a_flood_of_refusals_is_bounded() -> None:
    scene = Scene()
    for number in range(2 * MOST_WAITING + 1):
        scene.observer.refused(job(str(number)), LIVE, "overloaded")
    assert len(scene.recorded) == 2 * MOST_WAITING


def test_a_job_that_expired_has_no_scores() -> None:
    scene, late = Scene(), job("late", capture=True)
    late.expired = True
    scene.answer(job("good"), late)
    scene.observer.catch_up()
    event, kept = scene.recorded[1]
    assert (event.outcome, event.class_index, kept) == ("deadline_exceeded", -1, None)
    assert event.dhash
    assert scene.counts == {("gate", "ok"): 1, ("gate", "deadline_exceeded"): 1}


def test_a_shadow_is_shown_pictures_at_once() -> None:
    scene = Scene()
    images = scene.answer(job("a", shadow=object()), job("b", shadow=object()))
    assert [one.job.sequence_id for one in scene.seen] == ["a", "b"]
    assert [one.class_name for one in scene.seen] == ["red", "green"]
    assert np.array_equal(scene.seen[1].image_HW3, images[1])


def test_what_could_not_be_made_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()

    def fingerprints(images_NHW3: ImageArray) -> list[Any]:
        if images_NHW3.shape[1] == 24:
            raise MemoryError
        return [fingerprint(image) for image in images_NHW3]

    monkeypatch.setattr(observe, "fingerprints", fingerprints)
    scene.answer(job("a"))
    scene.answer(job("b"), job("c"), side=24)
    scene.answer(job("d"))
    scene.observer.catch_up()
    assert scene.names == ["a"]
    assert scene.lost == [3]
    scene.answer(job("e"))
    scene.observer.catch_up()
    assert scene.names == ["a", "e"]


def test_each_image_has_one_event_whoever_catches_up() -> None:
    scene, stop = Scene(), threading.Event()

    def hurry() -> None:
        while not stop.is_set():
            scene.observer.catch_up()
            time.sleep(0)

    thread = threading.Thread(target=hurry)
    thread.start()
    try:
        for number in range(200):
            scene.answer(job(str(number)))
    finally:
        stop.set()
        thread.join()
    scene.observer.catch_up()
    assert sorted(map(int, scene.names)) == list(range(200))


def test_without_watching_refusals_are_counted_only() -> None:
    scene = Scene(watched=False)
    scene.answer(job("a"))
    scene.observer.refused(job("b"), LIVE, "overloaded")
    scene.observer.catch_up()
    assert scene.recorded == []
    assert scene.counts == {("gate", "overloaded"): 1}
