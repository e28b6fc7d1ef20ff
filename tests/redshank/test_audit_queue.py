from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.audit_queue import audit_queue, kept_digests, onset_of, why_empty
from redshank.fieldstore import FieldStore
from tests.monitoring.alarms import make_alarm

DAY = 86_400.0


def no_labels(_: Iterable[str]) -> dict[str, str]:
    return {}


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def add(store: FieldStore, number: int, at_s: float, *, domain: str = "pier", **more: str) -> str:
    digest = f"{number:064x}"
    named = {"client": f"c{number}", "sequence_id": "", "dhash": "", **more}
    store.add(
        domain,
        picture(),
        sha256=digest,
        received_at=at_s,
        confidence=0.9,
        novelty=0.1,
        **named,
    )
    return digest


@pytest.fixture
def store(tmp_path: Path) -> FieldStore:
    return FieldStore(tmp_path / "field")


def test_the_sample_is_stable_order_free_and_goes_on_where_labels_ended(store: FieldStore) -> None:
    for number in range(40):
        add(store, number, 100.0 + number)
    first = audit_queue(store, "pier", labels=no_labels, onset_s=None, wanted=10)
    again = audit_queue(store, "pier", labels=no_labels, onset_s=None, wanted=10)
    drawn = [image.sha256 for image in first.waiting]
    assert drawn == [image.sha256 for image in again.waiting]
    assert drawn != sorted(drawn)
    assert (len(drawn), first.labelled) == (10, 0)
    more = audit_queue(store, "pier", labels=no_labels, onset_s=None, wanted=20)
    assert [image.sha256 for image in more.waiting][:10] == drawn

    said = {drawn[0]: "gull", drawn[1]: "?", drawn[2]: "tern"}
    rest = audit_queue(
        store, "pier", labels=lambda ds: {d: said[d] for d in ds if d in said},
        onset_s=None, wanted=10,
    )  # fmt: skip
    assert rest.labelled == 2  # nobody can tell of one, so another takes its place
    assert [image.sha256 for image in rest.waiting][:7] == drawn[3:]
    assert len(rest.waiting) == 8


def test_every_image_has_the_same_chance_whatever_its_digest_or_time(store: FieldStore) -> None:
    for number in range(400):
        add(store, number, 100.0 + number)
    queue = audit_queue(store, "pier", labels=no_labels, onset_s=None, wanted=100)
    numbers = np.array([int(image.sha256, 16) for image in queue.waiting])
    assert abs(numbers.mean() - 199.5) < 4 * 115.5 / 10  # 4 standard errors
    assert 10 < (numbers < 100).sum() < 40


def test_only_images_since_the_onset_or_of_the_last_week(store: FieldStore) -> None:
    old, late, last = add(store, 1, 0.0), add(store, 2, 10 * DAY), add(store, 3, 12 * DAY)
    recent = audit_queue(store, "pier", labels=no_labels, onset_s=None)
    assert {image.sha256 for image in recent.waiting} == {late, last}
    since = audit_queue(store, "pier", labels=no_labels, onset_s=11 * DAY)
    assert [image.sha256 for image in since.waiting] == [last]
    assert old not in {image.sha256 for image in since.waiting}


def test_one_image_of_a_scene_is_enough(store: FieldStore) -> None:
    for number in range(6):  # the store's rule takes each for a scene of its own
        add(store, number, 100.0 + 10 * number, client="camera", dhash="00000000000000ff")
    for number in range(6, 9):
        add(store, number, 1000.0 + 100 * number, sequence_id="walk")
    queue = audit_queue(store, "pier", labels=no_labels, onset_s=None)
    assert len(queue.waiting) == 2
    labels = {f"{0:064x}": "gull"}
    queue = audit_queue(store, "pier", labels=lambda _: labels, onset_s=None)
    assert (queue.labelled, len(queue.waiting)) == (1, 1)


def test_an_empty_queue_says_what_to_do(store: FieldStore, tmp_path: Path) -> None:
    def reason(domain: str, captured: tuple[str, ...] = (), **more: float) -> str:
        queue = audit_queue(store, domain, labels=no_labels, onset_s=more.get("onset_s"), wanted=5)
        any_kept = bool(kept_digests(tmp_path / "field", domain))
        error = why_empty(queue, captured, any_kept=any_kept)
        return "" if error is None else str(error)

    assert "keeping field images is off by default" in reason("quay")
    assert "serving.capture_domains" in reason("quay")
    assert "they come once the server runs" in reason("quay", ("quay",))
    add(store, 1, 100.0, domain="quay [1]*")
    assert reason("quay [1]*") == ""
    assert "of the time since the onset" in reason("quay [1]*", onset_s=200.0)
    done = audit_queue(store, "quay [1]*", labels=lambda ds: dict.fromkeys(ds, "x"), onset_s=None)
    assert "all 1 kept scenes of 'quay [1]*' are labelled, 50 are wanted" in str(
        why_empty(done, (), any_kept=True)
    )


def test_the_onset_is_that_of_harm_before_mere_change() -> None:
    drift = make_alarm(kind="drift", onset_s=5.0)
    harm = make_alarm(kind="degraded", onset_s=9.0)
    ended = make_alarm(kind="degraded", onset_s=7.0, closed_s=8.0)
    assert onset_of([drift, harm], *harm.key[::2]) == 9.0
    assert onset_of([drift, ended], *harm.key[::2]) == 5.0
    assert onset_of([ended], *harm.key[::2]) is None
    assert onset_of([harm], "default", "elsewhere") is None
