from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from redshank.infer import Predictions
from serving.metrics import Metrics
from serving.observe import Seen
from serving.shadow import MOST_WAITING, ShadowRunner
from serving.swap import Served

StartClient = Callable[..., Any]
MakeImage = Callable[[int], bytes]


class Shadow:
    """A bundle of 4 x 4 pictures that always says class 0, and can be held."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.sizes: list[int] = []
        spec = type("Spec", (), {"height": 4, "width": 4})
        self.bundle = type("Bundle", (), {"input": spec, "classes": ("red", "green")})

    def predict(self, images_NHW3: Any) -> Predictions:
        self.go.wait()
        self.sizes.append(len(images_NHW3))
        if images_NHW3.max() > 250:
            raise RuntimeError("the shadow fell over")
        found = type("P", (), {"class_N": np.zeros(len(images_NHW3), int)})
        return cast("Predictions", found)


def seen_by(shadow: Shadow, digest: int, *, side: int = 4, level: int = 0) -> Seen:
    served = Served(cast("Any", shadow), "shadow", "b-2")
    job = type("Job", (), {"snapshot": type("Snapshot", (), {"shadow": served})})
    pixels = np.full((side, side, 3), level, np.uint8)
    return Seen(cast("Any", job), pixels, ("", 0.0, 0.0), f"{digest:08x}" + "0" * 56, "red")


def run(
    shadow: Shadow, offers: Sequence[Sequence[Seen]], *, share: float = 1.0
) -> tuple[Metrics, list[int]]:
    metrics, recorded = Metrics(), list[int]()
    runner = ShadowRunner(lambda _, seen, __: recorded.append(len(seen)), metrics, share=share)
    runner.start()
    for offer in offers:
        runner.offer(offer)
    shadow.go.set()
    runner.stop()
    return metrics, recorded


def counted(metrics: Metrics, agrees: str) -> float:
    labels = {"version": "b-2", "agrees": agrees}
    return metrics.registry.get_sample_value("redshank_shadow_total", labels) or 0.0


def test_a_shadow_sees_its_share_by_digest() -> None:
    shadow = Shadow()
    digests = [int(2**32 * n / 40) for n in range(40)]
    metrics, recorded = run(shadow, [[seen_by(shadow, d) for d in digests]], share=0.25)
    assert sum(recorded) == counted(metrics, "true") == 10
    assert run(shadow, [[seen_by(shadow, d) for d in digests]], share=0.0)[1] == []


def test_nobody_waits_for_a_shadow_that_hangs() -> None:
    shadow = Shadow()
    shadow.go.clear()
    offers = [[seen_by(shadow, n)] for n in range(200)]
    metrics, recorded = run(shadow, offers)  # `offer` returned 200 times meanwhile
    assert sum(recorded) + counted(metrics, "behind") == 200
    assert MOST_WAITING <= sum(recorded) <= MOST_WAITING + 8
    assert max(shadow.sizes) <= 8


def test_what_does_not_fit_or_fails_is_counted_and_the_rest_goes_on() -> None:
    shadow = Shadow()
    bad, odd = seen_by(shadow, 1, level=255), seen_by(shadow, 2, side=5)
    metrics, recorded = run(shadow, [[odd], [bad]])
    assert (counted(metrics, "unfit"), counted(metrics, "failed"), recorded) == (1, 1, [])
    assert run(shadow, [[seen_by(shadow, 3)]])[1] == [1]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_shadow_sees_its_share_under_steady_load(
    start: StartClient, home: Any, image: MakeImage, share: float
) -> None:
    home.registry.set_shadow("default", home.two, actor="test", reason="", at_s=2.0)
    client, worker = start(home.with_serving(shadow_share=share))
    end = time.monotonic() + 1.0
    asked, number = 0, 0

    def ask() -> None:
        nonlocal asked, number
        while time.monotonic() < end:
            number += 1
            assert client.post("/v1/predict", content=image(number)).status_code == 200
            asked += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]  # somebody always waits
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.stop()
    values = worker.metrics.registry.get_sample_value
    kinds = ("true", "false", "behind")
    labels = [{"version": home.two, "agrees": kind} for kind in kinds]
    saw = sum(values("redshank_shadow_total", one) or 0.0 for one in labels)
    assert abs(saw / asked - share) <= 0.25 + 3 / asked**0.5
