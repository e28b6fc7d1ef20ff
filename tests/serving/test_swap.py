from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redshank.bundle import MODEL_FILE
from redshank.events import iter_spool
from redshank.registry import Canary
from serving.engine import Job
from serving.refusal import Refusal

StartClient = Callable[..., Any]
MakeImage = Callable[[int], bytes]

WORDS = {
    "20261122T090000-aaaaaa": ("red", "green", "blue"),
    "20261122T100000-bbbbbb": ("rot", "gruen", "blau"),
}


def until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_swaps_under_load_fail_and_mislabel_nothing(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    client, worker = start()
    images = [image(n) for n in range(6)]
    stop = threading.Event()
    wrong: list[object] = []
    answered: list[str] = []

    def ask(first: int) -> None:
        number = first
        while not stop.is_set():
            number += 1
            response = client.post("/v1/predict", content=images[number % 6])
            body = response.json()
            if response.status_code != 200 or body["class"] != WORDS[body["version"]][number % 3]:
                wrong.append(body)
            else:
                answered.append(body["version"])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for bundle in (home.two, home.one, home.two):
        time.sleep(0.15)
        home.publish(bundle)
        until(lambda b=bundle: worker.watcher.snapshot.live.version == b)  # type: ignore[misc]
    until(lambda: answered[-1] == home.two)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(answered) == {home.one, home.two}
    worker.stop()
    spooled = list(iter_spool(home.settings.home.path("spool")))
    assert sorted(e.version for e in spooled) == sorted(answered)


def test_a_damaged_bundle_keeps_the_old_model_and_says_why(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    client, worker = start()
    home.publish(home.two)
    home.publish(home.one)
    until(lambda: worker.watcher.snapshot.release.revision == 3)
    (home.registry.bundle_path(home.two) / MODEL_FILE).write_bytes(b"changed")
    release = home.registry.read("default")
    # straight to the pointer: the registry itself refuses damaged bundles
    home.registry.swap(3, type(release)(**{**vars(release), "live": home.two}))
    until(lambda: bool(worker.watcher.problem))
    answer = client.post("/v1/predict", content=image(0))
    assert answer.json()["version"] == home.one
    assert "sha256" in client.get("/v1/models").json()["problem"]
    assert client.get("/readyz").status_code == 200
    assert 'redshank_release_failures_total{role="live"} 1.0' in client.get("/metrics").text
    home.publish(home.one)
    until(lambda: not worker.watcher.problem)
    assert worker.watcher.snapshot.release.revision == 5
    assert 'redshank_release_revision{model="default"} 5.0' in client.get("/metrics").text


def test_a_broken_pointer_keeps_the_old_model(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    client, worker = start()
    home.registry.release_path("default").write_text("{ torn")
    until(lambda: bool(worker.watcher.problem))
    assert client.post("/v1/predict", content=image(0)).json()["version"] == home.one


@pytest.mark.parametrize("damage", ["bundle", "pointer"])
def test_a_worker_that_starts_beside_a_bad_release_answers_with_the_former(
    start: StartClient, home: Any, image: MakeImage, damage: str
) -> None:
    home.publish(home.two)
    if damage == "bundle":
        broken = home.registry.bundle_path(home.two) / MODEL_FILE
    else:
        home.publish(home.one)
        broken = home.registry.release_path("default")
    whole = broken.read_bytes()
    broken.write_bytes(b"x")
    client, worker = start()
    answer = client.post("/v1/predict", content=image(0))
    assert (answer.status_code, answer.json()["version"]) == (200, home.one)
    models = client.get("/v1/models").json()
    assert models["problem"].startswith("live: ")
    assert models["revision"] == (1 if damage == "bundle" else 3)
    broken.write_bytes(whole)
    worker.watcher.wake()
    until(lambda: not worker.watcher.problem)
    assert client.get("/v1/models").json()["revision"] == (2 if damage == "bundle" else 3)


def test_without_a_release_the_worker_waits_for_one(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    pointer: Path = home.registry.release_path("default")
    kept = pointer.read_bytes()
    pointer.unlink()
    client, worker = start()
    assert client.get("/readyz").status_code == 503
    refused = client.post("/v1/predict", content=image(0))
    assert refused.status_code == 503
    assert "no release" in refused.json()["error"]["hint"]
    pointer.write_bytes(kept)
    until(lambda: worker.ready)
    assert client.post("/v1/predict", content=image(0)).status_code == 200


def test_canary_answers_its_domains_and_its_sticky_share(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    canary = Canary(home.two, ("gate-1",), 0.5)
    home.registry.set_canary("default", canary, actor="test", reason="", at_s=2.0)
    client, worker = start()

    def version(domain: str, sender: str) -> str:
        headers = {"X-Domain": domain, "X-Client-Id": sender}
        answer = client.post("/v1/predict", content=image(0), headers=headers)
        return str(answer.json()["version"])

    first = [version("gate-1", f"c{n}") for n in range(60)]
    assert first == [version("gate-1", f"c{n}") for n in range(60)]  # sticky
    assert 15 <= first.count(home.two) <= 45  # binomial(60, 0.5): outside in 1 of 20,000
    assert {version("gate-2", f"c{n}") for n in range(20)} == {home.one}
    worker.stop()
    roles = {(e.version, e.role) for e in iter_spool(home.settings.home.path("spool"))}
    assert roles == {(home.one, "live"), (home.two, "canary")}


def test_shadow_sees_images_and_answers_nothing(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    home.registry.set_shadow("default", home.two, actor="test", reason="", at_s=2.0)
    client, worker = start()
    for n in range(5):
        assert client.post("/v1/predict", content=image(n)).json()["version"] == home.one
    worker.stop()
    spooled = list(iter_spool(home.settings.home.path("spool")))
    assert [e.version for e in spooled if e.role == "live"] == [home.one] * 5
    assert [e.version for e in spooled if e.role == "shadow"] == [home.two] * 5
    seen = f'redshank_shadow_total{{agrees="false",version="{home.two}"}} 5.0'
    assert seen in client.get("/metrics").text  # other words for the same colours


def test_a_bad_canary_does_not_hold_up_the_live_bundle(start: StartClient, home: Any) -> None:
    canary = Canary(home.two, (), 1.0)
    home.registry.set_canary("default", canary, actor="test", reason="", at_s=2.0)
    (home.registry.bundle_path(home.two) / MODEL_FILE).write_bytes(b"changed")
    client, worker = start()
    assert worker.ready
    assert worker.watcher.snapshot.canary is None
    assert client.get("/v1/models").json()["problem"].startswith("canary:")


def test_reload_looks_at_the_pointer_at_once(start: StartClient, home: Any) -> None:
    client, worker = start(home.with_serving(poll_s=3600.0))
    home.publish(home.two)
    assert client.post("/admin/reload").status_code == 202
    until(lambda: worker.watcher.snapshot.live.version == home.two)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_the_share_is_a_share(start: StartClient, home: Any, share: float) -> None:
    canary = Canary(home.two, (), share)
    home.registry.set_canary("default", canary, actor="test", reason="", at_s=2.0)
    _, worker = start()
    snapshot = worker.watcher.snapshot
    chosen = sum(snapshot.choose("d", f"c{n}").role == "canary" for n in range(2000))
    assert abs(chosen / 2000 - share) < 0.035  # five standard deviations


def test_a_canary_that_falls_over_takes_no_live_answer_with_it(
    start: StartClient,
    home: Any,
    image: MakeImage,
    monkeypatch: pytest.MonkeyPatch,
    hold: Callable[[Any], threading.Event],
) -> None:
    canary = Canary(home.two, ("gate-1",), 1.0)
    home.registry.set_canary("default", canary, actor="test", reason="", at_s=2.0)
    client, worker = start()

    def fail(*_: object) -> None:
        raise RuntimeError("the canary fell over")

    monkeypatch.setattr(worker.watcher.snapshot.canary.model, "predict", fail)
    held = hold(worker)  # the two requests behind `first` are one batch
    statuses: dict[str, int] = {}

    def ask(domain: str) -> None:
        headers = {"X-Domain": domain}
        answer = client.post("/v1/predict", content=image(0), headers=headers)
        statuses[domain] = answer.status_code

    threads = [threading.Thread(target=ask, args=(d,)) for d in ("first", "gate-1", "gate-2")]
    threads[0].start()
    until(lambda: worker.batcher.busy and worker.batcher.depth == 0)
    for thread in threads[1:]:
        thread.start()
    until(lambda: worker.batcher.depth == 2)
    held.set()
    for thread in threads:
        thread.join()
    assert statuses == {"first": 200, "gate-1": 500, "gate-2": 200}
    worker.stop()
    spooled = list(iter_spool(home.settings.home.path("spool")))
    assert sorted((e.domain, e.outcome) for e in spooled) == [
        ("first", "ok"), ("gate-1", "internal"), ("gate-2", "ok"),
    ]  # fmt: skip


def test_pixels_of_another_size_than_the_canarys_take_no_live_answer_with_them(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    canary = Canary(home.two, ("gate-1",), 1.0)
    home.registry.set_canary("default", canary, actor="test", reason="", at_s=2.0)
    _, worker = start()

    def job(domain: str, data: Any) -> Any:
        snapshot = worker.watcher.snapshot
        return Job(data, "r", domain, "", "c", snapshot, 1e9, time.perf_counter(), False, 9.0)

    pixels = np.zeros((7, 9, 3), np.uint8)
    mixed = [job("gate-1", pixels), job("gate-1", image(0)), job("gate-2", image(0))]
    answers = worker._inference.work(mixed)
    assert [isinstance(answer, Refusal) for answer in answers] == [True, True, False]


def test_a_retry_of_a_bad_shadow_is_no_swap(
    start: StartClient, home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.swap.RETRY_S", 0.0)
    home.registry.set_shadow("default", home.two, actor="test", reason="", at_s=2.0)
    (home.registry.bundle_path(home.two) / MODEL_FILE).write_bytes(b"changed")
    _, worker = start()

    def counted(name: str, **labels: str) -> float:
        return float(worker.metrics.registry.get_sample_value(name, labels) or 0.0)

    until(lambda: counted("redshank_release_failures_total", role="shadow") >= 3)
    assert counted("redshank_release_swaps_total") == 1
