"""A home with a released tiny model, its data, and field images of a site in trouble."""

from __future__ import annotations

import functools
import io
import os
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from redshank.dataset import Item, Split, write_manifest
from redshank.fieldstore import FieldStore
from redshank.files import sha256_bytes
from redshank.registry import Registry
from redshank.run import read_run
from redshank.settings import GateSettings, RetrainingSettings
from redshank.store.control import ControlStore, open_control
from redshank.trigger import Kind, make_trigger
from retraining.workplace import Workplace
from tests.colour_bundle import CLASSES
from tests.retraining.tiny_model import SIZE, write_tiny_bundle
from tests.retraining.tiny_stages import write_tiny_run

PROGRAM = (sys.executable, "-m", "tests.retraining.tiny_stages")
FIELD_IMAGES = 60
VALIDATION_IMAGES = 120
SOURCES = ("paper", "screen")


@dataclass
class Clock:
    """Real time, plus what a test adds."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class World:
    home: Path
    models: Path
    """Prepared tiny models: good, collapsed, worse."""
    clock: Clock = field(default_factory=Clock)
    said: list[str] = field(default_factory=list)

    @property
    def log(self) -> list[str]:
        """Lines that the tiny stages wrote."""
        path = self.home / "log"
        return path.read_text().splitlines() if path.exists() else []

    def count(self, start: str) -> int:
        """How many log lines begin so."""
        return sum(line.startswith(start) for line in self.log)

    @property
    def registry(self) -> Registry:
        return Registry(self.home / "models", self.home / "bundles")

    @property
    def field_store(self) -> FieldStore:
        return FieldStore(self.home / "field")

    def environment(self, model: str = "good", *, steps: int = 2, fail: str = "") -> dict[str, str]:
        """What the tiny stages read."""
        return {
            "TINY_HOME": str(self.home),
            "TINY_MODEL": str(self.models / model),
            "TINY_LOG": str(self.home / "log"),
            "TINY_STEPS": str(steps),
            "TINY_FAIL": fail,
        }

    def rules(self, **changes: object) -> RetrainingSettings:
        """Fast and forgiving rules."""
        values: dict[str, object] = {
            "mode": "auto",
            "cooldown_s": 1000.0,
            "min_images": FIELD_IMAGES,
            "steps": 1,
            "timeout_s": 60.0,
            "poll_s": 0.05,
            "lease_s": 30.0,
            "client_share": 1.0,
            "gates": GateSettings(accuracy_margin=0.05),
        }
        return RetrainingSettings(**(values | changes))  # type: ignore[arg-type]  # checked there

    def place(self, store: ControlStore, rules: RetrainingSettings) -> Workplace:
        return Workplace(
            store=store,
            registry=self.registry,
            field=self.field_store,
            runs=self.home / "runs",
            snapshots=self.home / "snapshots",
            spool=self.home / "spool",
            logs=self.home / "healings",
            model="default",
            rules=rules,
            program=PROGRAM,
            options=(),
            clock=self.clock,
            say=self.said.append,
        )

    def open_store(self) -> ControlStore:
        return open_control(f"sqlite:///{self.home}/control.db", clock=self.clock)


def build_world(home: Path, models: Path) -> World:
    """Source data, a champion run and bundle, its release, and captured images of `pier`."""
    world = World(home, models)
    sizes: dict[Split, int] = {"train": 6, "val": VALIDATION_IMAGES}
    items = [
        _source_image(home, domain, split, number)
        for domain in SOURCES
        for split, count in sizes.items()
        for number in range(count)
    ]
    manifest = home / "data" / "manifest.jsonl"
    write_manifest(manifest, root=".", classes=CLASSES, items=items)
    run = write_tiny_run(home / "runs", manifest, parent=None)
    bundle = write_tiny_bundle(home / "bundles", models / "good", run=read_run(run))
    world.registry.publish(bundle.name, actor="test", reason="first", at_s=time.time())
    capture(world, "pier", FIELD_IMAGES)
    return world


def capture(world: World, domain: str, count: int, *, seed: int = 1, client: str = "c") -> None:
    """Keep `count` field images of a domain, as serving would."""
    store = world.field_store
    for number in range(count):
        data = picture(number % len(CLASSES), seed=1000 * seed + number)
        added = store.add(
            domain,
            data,
            sha256=sha256_bytes(data),
            received_at=world.clock(),
            client=client,
            sequence_id=f"{domain}-{seed}-{number}",
            dhash="",
            confidence=0.5,
            novelty=0.9,
        )
        assert added


def add_trigger(
    world: World, store: ControlStore, *, kind: Kind = "alarm", domains: tuple[str, ...] = ("pier",)
) -> str:
    """An alarm from a moment ago; returns its trigger id."""
    now_s = world.clock()
    trigger = make_trigger(
        kind=kind,
        model="default",
        domains=domains,
        onset_at_s=now_s - 3600,
        created_at_s=now_s,
        actor="evaluator",
        evidence={"reason": "confidence fell"},
    )
    assert store.add_trigger(trigger)
    return trigger.trigger_id


@functools.cache
def picture(label: int, *, seed: int) -> bytes:
    """A PNG whose mean colour tells its class clearly."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 80, (SIZE, SIZE, 3), dtype=np.uint8)
    pixels[..., label] += 150
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def set_environment(setenv: Callable[[str, str], None], values: dict[str, str]) -> None:
    for name, value in values.items():
        setenv(name, value)


def _source_image(home: Path, domain: str, split: Split, number: int) -> Item:
    label = number % len(CLASSES)
    data = picture(label, seed=zlib.crc32(f"{domain} {split} {number}".encode()))
    path = home / "data" / domain / f"{split}{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Item(
        path=os.path.relpath(path, home / "data"),
        domain=domain,
        label=CLASSES[label],
        split=split,
        sha256=sha256_bytes(data),
    )
