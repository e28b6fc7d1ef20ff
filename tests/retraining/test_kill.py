"""The loop killed with SIGKILL or ended with SIGTERM: nothing is lost, doubled or half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redshank.store.control import ControlStore
from tests.retraining.tiny_world import World, add_trigger, set_environment

STEPS = 24


@pytest.fixture
def slow_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    set_environment(monkeypatch.setenv, world.environment(steps=STEPS))
    return world


def start_loop(world: World) -> subprocess.Popen[bytes]:
    arguments = ["-m", "tests.retraining.loop_process", str(world.home), str(world.models)]
    with (world.home / "loop.log").open("ab") as log:
        return subprocess.Popen([sys.executable, *arguments], stderr=log)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, f"waited in vain for {what}"
        time.sleep(0.01)


def finish(world: World) -> None:
    assert start_loop(world).wait(90) == 0, (world.home / "loop.log").read_text()


def check_healed(
    world: World, store: ControlStore, *, attempts: set[int], stopped: int = 0
) -> None:
    """`stopped`: trainings that were ended in order, which counts as no attempt."""
    (healing,) = store.healings()
    log = (world.home / "loop.log").read_text()
    assert healing.state == "live", f"{healing.reason}\n{log}"
    assert healing.attempt in attempts
    assert world.count("train end") == 1, world.log
    assert world.count("export end") == 1, world.log
    steps = [int(line.split()[1]) for line in world.log if line.startswith("step")]
    assert sorted(set(steps)) == list(range(STEPS))
    # a training killed between a step's note and its checkpoint does that one step again
    assert len(steps) <= STEPS + max(attempts) - 1 + stopped
    release = world.registry.read("default")
    assert (release.revision, release.live) == (2, healing.challenger)
    assert len(world.registry.history("default")) == 2
    assert store.verify_audit() == len(store.audit())
    assert not [path for path in (world.home / "snapshots").iterdir() if path.name[0] == "."]


@pytest.mark.parametrize("moment", ["train start", f"step {STEPS // 2}", "train end", "export end"])
def test_kill_9_in_the_middle_of_a_healing(
    slow_world: World, store: ControlStore, moment: str
) -> None:
    add_trigger(slow_world, store)
    loop = start_loop(slow_world)
    wait_until(lambda: slow_world.count(moment) > 0 or loop.poll() is not None, moment)
    loop.send_signal(signal.SIGKILL)
    loop.wait(10)
    finish(slow_world)
    # right after the last stage the loop may have been done already
    check_healed(slow_world, store, attempts={1, 2} if moment == "export end" else {2})


def test_kill_9_again_and_again(slow_world: World, store: ControlStore) -> None:
    add_trigger(slow_world, store)
    for step in (4, 10, 18):
        loop = start_loop(slow_world)
        wait_until(lambda step=step: slow_world.count(f"step {step}") > 0, f"step {step}")  # type: ignore[misc]  # bound now
        loop.send_signal(signal.SIGKILL)
        loop.wait(10)
    finish(slow_world)
    # an orphan that trained on past the next moment saves a loop from being an attempt
    check_healed(slow_world, store, attempts={2, 3, 4})


def test_sigterm_ends_the_stage_and_the_next_loop_goes_on(
    slow_world: World, store: ControlStore
) -> None:
    add_trigger(slow_world, store)
    loop = start_loop(slow_world)
    wait_until(lambda: slow_world.count("step 10") > 0, "step 10")
    (healing,) = store.healings()
    lock = slow_world.home / "healings" / healing.healing_id / "training.lock"
    stage = int(lock.read_text())
    assert alive(stage)
    loop.terminate()
    assert loop.wait(30) == 0
    assert not alive(stage)
    (healing,) = store.healings()
    assert healing.state == "training"
    begun = time.monotonic()
    lease = store.acquire("test", ttl_s=5)
    assert lease is not None, "the lease was given back"
    assert not lease.took_over
    assert time.monotonic() - begun < 5
    store.release(lease)
    finish(slow_world)
    check_healed(slow_world, store, attempts={1}, stopped=1)


def test_the_next_loop_ends_a_stage_that_was_left_behind(
    slow_world: World, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch.setenv, slow_world.environment(steps=3000))
    add_trigger(slow_world, store)
    loop = start_loop(slow_world)
    wait_until(lambda: slow_world.count("step 3") > 0, "step 3")
    (healing,) = store.healings()
    lock = slow_world.home / "healings" / healing.healing_id / "training.lock"
    orphan = int(lock.read_text())
    loop.send_signal(signal.SIGKILL)
    loop.wait(10)
    assert alive(orphan)
    set_environment(monkeypatch.setenv, slow_world.environment(steps=1))
    finish(slow_world)
    assert not alive(orphan)
    assert store.healings()[0].state == "live"
    assert slow_world.count("train end") == 1


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
