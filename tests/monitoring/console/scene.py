"""A small field with something of everything: states, alarm, images, healings, releases."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from monitoring.board import Board
from monitoring.console.sources import Sources, sources_of
from redshank.fieldstore import FieldStore
from redshank.healing import Gate, Healing, State
from redshank.registry import Registry
from redshank.settings import Home, MonitoringSettings, Settings
from redshank.store.control import ControlStore
from tests.monitoring import field
from tests.monitoring.field import Site, Station, write_spool, write_test_bundle

TOKEN, LOOKER, HOOK = "decide-decide-decide", "look-look-look-look", "alerts-alerts-alerts"
LABELLER = "label-label-label-label"
TICKS = 60
SITES = (
    Site("home"),
    Site("north gate"),
    Site("fog<script>", 30, spread=0.3),
    Site("odd/one", 30, novelty=40.0),
)
WAY: tuple[State, ...] = ("snapshot", "training", "export", "gates", "proposed")


def make_sources(
    root: Path, *, with_tokens: bool = True, sites: tuple[Site, ...] = SITES, send: bool = True
) -> Sources:
    """Everything behind a console, after one pass of the evaluator."""
    settings = Settings(
        home=Home(root=str(root)),
        monitoring=MonitoringSettings(
            tick_s=1.0,
            silent_after_s=1000.0,
            tokens_file=write_tokens(root) if with_tokens else "",
        ),
    )
    for bundle in ("b0", "b1"):
        write_test_bundle(root / "bundles", bundle, held_out=True)
    write_spool(root / "spool", sites, TICKS)
    station = Station(root, now_s=field.START + TICKS)
    evaluator = station.evaluator()
    board = Board(settings.monitoring, lambda: station.now_s)
    board.publish(evaluator, evaluator.pass_once())
    sources = sources_of(settings, board, station.store)
    for trigger in station.triggers if send else ():
        sources.control.add_trigger(trigger)
    publish(sources.registry)
    return sources


def write_tokens(root: Path) -> str:
    """The tokens file."""
    file = root / "tokens.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {
        TOKEN: {"name": "ann", "roles": ["decide"]},
        LOOKER: {"name": "lou", "roles": ["look"]},
        LABELLER: {"name": "lea", "roles": ["label"]},
        HOOK: {"name": "alertmanager", "roles": ["alerts"]},
    }
    file.write_text(json.dumps(values))
    return str(file)


def publish(registry: Registry) -> None:
    """First b0, then b1."""
    for n, bundle in enumerate(("b0", "b1")):
        registry.publish(bundle, actor="ann", reason="first release", at_s=field.START + n)


def propose(store: ControlStore) -> Healing:
    """A pending healing, moved on until a person is asked."""
    healing = store.healings("pending")[0]
    for state in WAY:
        changes = {"gates": gates(), "challenger": "b2", "champion": "b1"}
        healing = store.transition(
            healing,
            state,
            reason="every gate passed or cannot tell; a person decides",
            actor="loop",
            lease=None,
            **(changes if state == "proposed" else {}),
        )
    return healing


def gates() -> tuple[Gate, ...]:
    """A gate table with two verdicts."""
    plain = Gate("accuracy", "ink", "pass", 0.01, 0.02, 420, 0.018, "0.941 against 0.931")
    unsure = dataclasses.replace(
        plain, name="class_entropy", domain="", verdict="cannot_tell", n=0, detectable=None,
        sentence="too few field images",
    )  # fmt: skip
    return plain, unsure


def add_images(root: Path, domain: str, n: int = 8) -> list[str]:
    """Field images after the change; returns their digests."""
    store, rng = FieldStore(root / "field"), np.random.default_rng(3)
    digests = []
    for number in range(n):
        ramp, noise = np.linspace(60, 190, 48), rng.normal(0, 12, (6, 6)).repeat(8, 0).repeat(8, 1)
        pixels = np.clip(ramp[None, :] + noise, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        digest = f"{number:064x}"
        store.add(
            domain,
            file.getvalue(),
            sha256=digest,
            received_at=field.START + 35 + number,
            client="camera",
            sequence_id=f"s{number}",
            dhash="",
            confidence=0.3 + 0.08 * number,
            novelty=0.9,
        )
        digests.append(digest)
    return digests
