"""TensorRT plans taken over by a running worker: fake engine, real processes, locks and swaps."""

from __future__ import annotations

import gc
import importlib.util
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redshank.errors import ConfigError, MissingPartError
from redshank.plan_on_demand import PlanBuild, load_runtime, runs_a_plan
from redshank.registry import Registry
from redshank.settings import Home, ServingSettings, Settings
from serving.launch import check
from serving.metrics import Metrics
from serving.plans import Plans, plans_of
from serving.swap import ReleaseWatcher, Served
from tests.colour_bundle import random_images, write_colour_bundle
from tests.tensorrt_runtime import FakeCuda, FakeRuntime, write_plan

ONE, TWO = "20261122T090000-aaaaaa", "20261122T100000-bbbbbb"
FAILS = "import sys; sys.exit('TensorRT has no kernel for this')"
SLOW = "import time; time.sleep(60)"


class Site:
    """A registry with two bundles, and a plan that fits them."""

    def __init__(self, root: Path) -> None:
        self.root, self.cuda = root, FakeCuda()
        self.registry = Registry(root / "models", root / "bundles")
        for bundle in (ONE, TWO):
            write_colour_bundle(root / "bundles" / bundle)
        self.publish(ONE)
        self.finishes = f"print({str(write_plan(root / 'plan'))!r})"
        self.builds: list[PlanBuild] = []

    def publish(self, bundle: str) -> None:
        self.registry.publish(bundle, actor="test", reason="", at_s=1.0)

    def plans(self, code: str = "", *, gain: float = 1) -> Plans:
        """Plans whose builder is a Python process with this code."""

        def start(folder: Path, precision: str) -> PlanBuild:
            program = (sys.executable, "-c", code or self.finishes)
            self.builds.append(PlanBuild(folder, precision, program=program, niceness=0))
            return self.builds[-1]

        return Plans(
            self.root / "plans",
            start,
            max_batch=8,
            runtime=lambda: (FakeRuntime(self.cuda, gain=gain), self.cuda),
        )

    def watcher(self, plans: Plans) -> ReleaseWatcher:
        made = ReleaseWatcher(
            self.registry, "default", Metrics(), poll_s=0.01, max_batch=8, plans=plans
        )
        made.look()
        return made


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def live(watcher: ReleaseWatcher) -> Served:
    assert watcher.snapshot is not None
    return watcher.snapshot.live


def looks_until(
    watcher: ReleaseWatcher, condition: Callable[[], bool], *, timeout_s: float = 60
) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        watcher.look()
        watcher.take_plans()
        time.sleep(0.02)


def test_onnx_runtime_answers_until_the_plan_does(site: Site) -> None:
    watcher = site.watcher(plans := site.plans())
    before, images = live(watcher), random_images(20)
    expected = before.model.predict(images)
    assert plans.state(before.model) == "waiting"
    watcher.take_plans()
    assert (plans.state(live(watcher).model), live(watcher).model) == ("building", before.model)
    looks_until(watcher, lambda: runs_a_plan(live(watcher).model))
    after = live(watcher)
    assert plans.state(after.model) == "ready"
    assert (after.version, after.role, after.is_small) == (ONE, "live", False)
    assert 1 <= after.max_batch <= 8
    np.testing.assert_allclose(
        after.model.predict(images).confidence_N, expected.confidence_N, rtol=1e-5
    )
    assert len(site.builds) == 1


def test_the_next_release_gets_a_plan_and_the_device_its_memory_back(site: Site) -> None:
    watcher = site.watcher(site.plans())
    looks_until(watcher, lambda: runs_a_plan(live(watcher).model))
    site.publish(TWO)
    looks_until(watcher, lambda: live(watcher).version == TWO)
    looks_until(watcher, lambda: runs_a_plan(live(watcher).model))
    gc.collect()
    assert (len(site.cuda.blocks), site.cuda.streams) == (3, 1)
    site.publish(ONE)  # and back: the plan is taken once more
    looks_until(watcher, lambda: live(watcher).version == ONE and runs_a_plan(live(watcher).model))


@pytest.mark.parametrize(
    ("code", "gain", "reason"),
    [("", 1.1, "golden logits differ"), (FAILS, 1, "TensorRT has no kernel for this")],
    ids=["wrong answers", "no plan"],
)
def test_a_plan_that_fails_is_said_once(
    site: Site, caplog: pytest.LogCaptureFixture, code: str, gain: float, reason: str
) -> None:
    watcher = site.watcher(plans := site.plans(code, gain=gain))
    looks_until(watcher, lambda: plans.state(live(watcher).model).startswith("failed"))
    for _ in range(3):
        watcher.take_plans()
    assert reason in plans.state(live(watcher).model)
    assert live(watcher).model.providers == ("CPUExecutionProvider",)
    said = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == len(site.builds) == 1
    assert "stays with ONNX Runtime" in said[0].getMessage()
    assert site.cuda.blocks == {}


def test_without_tensorrt_nothing_is_built(site: Site) -> None:
    def missing() -> tuple[Any, Any]:
        raise MissingPartError("no TensorRT runtime loads here")

    plans = site.plans()
    plans._runtime = missing
    watcher = site.watcher(plans)
    watcher.take_plans()
    assert plans.state(live(watcher).model) == "failed: no TensorRT runtime loads here"
    assert not site.builds


def test_one_worker_of_a_machine_builds_at_a_time(site: Site) -> None:
    first, second = site.plans(SLOW), site.plans()
    builder, waiter = site.watcher(first), site.watcher(second)
    builder.take_plans()
    waiter.take_plans()
    assert [p.state(live(w).model) for p, w in ((first, builder), (second, waiter))] == [
        "building",
        "waiting",
    ]
    assert len(site.builds) == 1
    builder.stop()
    looks_until(waiter, lambda: runs_a_plan(live(waiter).model))


def test_a_build_ends_when_its_bundle_is_served_no_more(site: Site) -> None:
    watcher = site.watcher(plans := site.plans(SLOW))
    watcher.take_plans()
    site.publish(TWO)
    watcher.look()
    watcher.take_plans()
    assert len(site.builds) == 2
    assert site.builds[0]._process.poll() is not None
    assert plans.state(live(watcher).model) == "building"
    plans.stop()


def test_settings_say_who_answers(tmp_path: Path) -> None:
    home = Home(root=str(tmp_path))
    assert plans_of(Settings(home=home)) is None
    wished = ServingSettings(engine="tensorrt")
    assert plans_of(Settings(home=home, serving=wished)) is not None
    cpu = ServingSettings(engine="tensorrt", precision="int8")
    with pytest.raises(ConfigError, match="int8 is a graph for CPUs"):
        check(Settings(home=home, serving=cpu))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)
def test_nvidias_builder_makes_the_plan_that_a_worker_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a device it answers; without one it is built, refused, and ONNX Runtime goes on."""
    monkeypatch.setattr("serving.plans.PlanBuild", partial(PlanBuild, niceness=0))
    settings = Settings(
        home=Home(root=str(site.root)), serving=ServingSettings(engine="tensorrt", max_batch=8)
    )
    plans = plans_of(settings)
    assert plans is not None
    watcher = site.watcher(plans)

    def is_settled() -> bool:
        return plans.state(live(watcher).model).split(":")[0] in ("ready", "failed")

    looks_until(watcher, is_settled, timeout_s=120)
    assert list((site.root / "plans").glob("*/model.plan")), plans.state(live(watcher).model)
    _, cuda = load_runtime()
    status, count = cuda.cudaGetDeviceCount()
    has_device = int(status) == 0 and count > 0
    assert plans.state(live(watcher).model).startswith("ready" if has_device else "failed")
    assert runs_a_plan(live(watcher).model) == has_device
    assert len(live(watcher).model.predict(random_images(3)).class_N) == 3
