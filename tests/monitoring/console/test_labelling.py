"""The labelling form without a browser: who may, what is written, what is refused."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from http import HTTPStatus
from pathlib import Path

import pytest

from monitoring.console.labelling import MOST_BUTTONS
from monitoring.console.messages import Answer, Request
from monitoring.console.site import Console
from redshank.bundle import BUNDLE_FILE, read_bundle, write_bundle
from tests.monitoring.console.scene import LABELLER, LOOKER, TOKEN, add_images, make_sources
from tests.monitoring.field import Site

FOG = "/domains/default/fog%2Fbank"
LABEL = f"{FOG}/label"
SITES = (Site("fog/bank", 30, spread=0.3), Site("home"))


@pytest.fixture
def console(tmp_path: Path) -> Console:
    sources = make_sources(tmp_path, sites=SITES)
    add_images(tmp_path, "fog/bank", 6)
    return Console(sources)


def get(console: Console, target: str, token: str = LABELLER) -> Answer:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return console.answer(Request("GET", target, headers))


def post(console: Console, token: str = LABELLER, **form: str) -> Answer:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return console.answer(Request("POST", LABEL, headers, urllib.parse.urlencode(form).encode()))


def shown(page: Answer) -> str:
    found = re.search(r'name="image" value="([0-9a-f]{64})"', page.body.decode())
    assert found is not None, page.body.decode()
    return found[1]


def test_one_image_after_the_other_until_the_queue_is_done(console: Console) -> None:
    store = console.sources.control
    page = get(console, f"{LABEL}?wanted=3")
    text = page.body.decode()
    assert "0 of 3 labelled" in text
    assert text.count('<button name="label"') == 4
    assert 'accesskey="1" autofocus>class 0</button>' in text
    assert "confidence" not in text  # nothing of the model's answer
    seen = []
    for label in ("class 2", "?", "class 0", "class 1"):
        seen.append(shown(page))
        answer = post(console, image=seen[-1], label=label, wanted="3")
        assert answer.status == HTTPStatus.SEE_OTHER
        page = get(console, dict(answer.headers)["Location"])
    text = page.body.decode()
    assert "3 of 3 labelled" in text  # nobody can tell of one, so another took its place
    assert "All images that were asked for are labelled" in text
    assert f"{LABEL}?wanted=100" in text
    assert store.labels(seen) == dict(
        zip(seen, ("class 2", "?", "class 0", "class 1"), strict=True)
    )
    rows = [row for row in store.audit() if row.action == "labels"]
    assert [(row.actor, row.subject) for row in rows] == [("lea", digest) for digest in seen]
    assert rows[0].details["source"] == "console"
    assert store.labels_given()[0].labels == {seen[0]: "class 2"}
    assert store.verify_audit() == len(store.audit())


def test_the_last_label_can_be_corrected(console: Console) -> None:
    image = shown(get(console, LABEL))
    there = dict(post(console, image=image, label="class 2").headers)["Location"]
    page = get(console, there).body.decode()
    assert "the last one as <strong>class 2</strong>" in page
    assert f"image={image}" in page
    again = get(console, f"{LABEL}?image={image}")
    assert shown(again) == image
    assert "It was labelled as <strong>class 2</strong>" in again.body.decode()
    assert post(console, image=image, label="class 1").status == HTTPStatus.SEE_OTHER
    assert console.sources.control.labels([image]) == {image: "class 1"}


def test_only_those_who_may_label_do(console: Console) -> None:
    image = shown(get(console, LABEL, TOKEN))
    for token, status in ((LOOKER, HTTPStatus.FORBIDDEN), ("", HTTPStatus.UNAUTHORIZED)):
        assert get(console, LABEL, token).status == status
        assert post(console, token, image=image, label="class 1").status == status
    assert console.sources.control.labels([image]) == {}
    assert "Label the next one" not in get(console, FOG, LOOKER).body.decode()
    page = get(console, FOG).body.decode()
    assert f'<a href="{LABEL}">Label the next one</a>' in page
    assert "0 of 50 images since the onset" in page


def test_a_form_of_another_session_writes_nothing(console: Console) -> None:
    image = shown(get(console, LABEL))
    cookie = console.sources.access.begin(
        console.sources.access.holder(TOKEN)  # type: ignore[arg-type]  # it is known
    )
    headers = {"cookie": f"redshank_session={cookie}", "origin": "http://here", "host": "here"}
    body = urllib.parse.urlencode({"image": image, "label": "class 1", "form_key": "x"}).encode()
    answer = console.answer(Request("POST", LABEL, headers, body))
    assert answer.status == HTTPStatus.FORBIDDEN
    elsewhere = {**headers, "origin": "http://evil"}
    assert console.answer(Request("POST", LABEL, elsewhere, body)).status == HTTPStatus.FORBIDDEN
    assert console.sources.control.labels([image]) == {}


def test_what_is_wrong_is_said_and_nothing_written(console: Console) -> None:
    image = shown(get(console, LABEL))
    answer = post(console, image=image, label="clas 1")
    assert answer.status == HTTPStatus.NOT_FOUND
    assert "Did you mean" in answer.body.decode()
    assert post(console, image="f" * 64, label="class 1").status == HTTPStatus.NOT_FOUND
    assert post(console, image="", label="class 1").status == HTTPStatus.NOT_FOUND
    console.sources.field.delete(image)
    gone = post(console, image=image, label="class 1")
    assert gone.status == HTTPStatus.NOT_FOUND
    assert "deleted meanwhile" in gone.body.decode()
    assert get(console, "/domains/default/elsewhere/label").status == HTTPStatus.NOT_FOUND
    assert console.sources.control.labels_given() == ()


def test_an_image_that_was_not_drawn_is_refused(console: Console) -> None:
    field, old = console.sources.field, f"{77:064x}"
    data = field.images("fog/bank")[0].path.read_bytes()
    field.add(
        "fog/bank", data, sha256=old, received_at=1.0, client="x", sequence_id="", dhash="",
        confidence=0.1, novelty=0.1,
    )  # fmt: skip
    assert post(console, image=old, label="class 1").status == HTTPStatus.CONFLICT


def test_a_domain_without_kept_images_says_what_to_do(console: Console) -> None:
    page = get(console, "/domains/default/home/label").body.decode()
    assert "keeping field images is off by default" in page
    assert "serving.capture_domains" in get(console, "/domains/default/home").body.decode()


def test_many_classes_are_typed(console: Console) -> None:
    folder = console.sources.registry.bundle_path("b1")
    names = tuple(f"kind {n}" for n in range(MOST_BUTTONS + 1))
    bundle = dataclasses.replace(read_bundle(folder, verify=False), classes=names)
    (folder / BUNDLE_FILE).unlink()
    write_bundle(folder, bundle)
    page = get(console, LABEL).body.decode()
    assert page.count("<option") == len(names)
    assert '<button name="label"' not in page
