"""A simulated field: events of several sites in a spool, and the bundle they came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from monitoring.evaluator import Evaluator
from monitoring.stream import Plan
from monitoring.surroundings import Surroundings
from redshank.bundle import Bundle, write_bundle
from redshank.cells import NUM_CONFIDENCE_BINS, FloatArray, IntArray, cell_counts
from redshank.errors import ConflictError
from redshank.events import Event, EventWriter
from redshank.records import from_dict
from redshank.reference import Reference, write_reference
from redshank.store.monitor import MonitorStore, TickWrite, open_monitor
from redshank.trigger import Trigger
from tests.examples import make_event

GOLDEN = Path(__file__).parents[1] / "golden"
CLASSES = 4
SPREAD = 0.06
"""Mean of 1 - confidence of a healthy site."""
PLAN = Plan(
    tick_s=1.0,
    period_ticks=200,
    false_alarms=0.05,
    margin=0.01,
    absolute_margin=0.02,
    burn_in_scenes=150,
    scene_gap_s=0.0,
    scene_distance=6,
)
START = 1_000_000.0


@dataclass(frozen=True)
class Site:
    """A camera whose images change at `change_tick`."""

    domain: str
    change_tick: int = 10_000
    spread: float = SPREAD
    """Mean of 1 - confidence after the change."""
    novelty: float = 1.0
    """Exponent of the novelty rank after the change; 1 is like training images."""
    mix: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    """Class mix after the change."""
    version: str = "b1"
    per_tick: int = 10
    hardness: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    """Factor on 1 - confidence of each true class."""


def predict(
    rng: np.random.Generator, classes_N: IntArray, spread_N: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Predicted class and confidence; right as often as the confidence says."""
    confidence_N = 1 - np.minimum(rng.exponential(spread_N), 0.7)
    wrong_N = rng.random(len(classes_N)) > confidence_N
    return np.where(wrong_N, rng.integers(0, CLASSES, len(classes_N)), classes_N), confidence_N


def site_events(site: Site, ticks: int, seed: int = 0) -> Iterator[Event]:
    """Events of one site, evenly over each tick of one second."""
    rng = np.random.default_rng([seed, *site.domain.encode()])
    even = (0.25,) * CLASSES
    for tick in range(ticks):
        late = tick >= site.change_tick
        true_N = rng.choice(CLASSES, size=site.per_tick, p=site.mix if late else even)
        spread_N = np.array(site.hardness)[true_N] * (site.spread if late else SPREAD)
        predicted_N, confidence_N = predict(rng, true_N, spread_N)
        novelty_N = rng.beta(site.novelty if late else 1.0, 1.0, site.per_tick)
        for n in range(site.per_tick):
            at_s = START + tick + (n + 0.5) / site.per_tick
            yield event(
                site.domain,
                at_s,
                version=site.version,
                class_index=int(predicted_N[n]),
                confidence=float(confidence_N[n]),
                novelty=float(novelty_N[n]),
                sequence_id=f"{site.domain}-{tick}-{n}",
            )


def event(domain: str, at_s: float, **changes: object) -> Event:
    """One good event with changes."""
    named = {"event_id": f"{domain}-{at_s:.6f}", "received_at": at_s, "domain": domain}
    return make_event(**{**named, **changes})


def write_spool(folder: Path, sites: Iterable[Site], ticks: int, workers: int = 2) -> int:
    """All events of the sites in order of time, spread over worker files; returns how many."""
    events = sorted(
        (e for site in sites for e in site_events(site, ticks)), key=lambda e: e.received_at
    )
    for worker in range(workers):
        with EventWriter(folder, f"w{worker}") as writer:
            writer.append(events[worker::workers])
    return len(events)


def write_test_bundle(
    bundles: Path,
    bundle_id: str = "b1",
    *,
    held_out: bool = False,
    hardness: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
) -> None:
    """A bundle folder with references (no model file; the monitor reads none)."""
    values = json.loads((GOLDEN / "bundle.json").read_text())
    values |= {"bundle_id": bundle_id, "model": "default", "files": {}}
    values["source_domains"] = [f"source {d}" for d in range(3)]
    values["classes"] = [f"class {c}" for c in range(CLASSES)]
    rng = np.random.default_rng(5)
    true_N = rng.integers(0, CLASSES, 3000)
    predicted_N, confidence_N = predict(rng, true_N, np.array(hardness)[true_N] * SPREAD)
    labelled = np.stack(
        [
            cell_counts(predicted_N[true_N == c], confidence_N[true_N == c], num_classes=CLASSES)
            for c in range(CLASSES)
        ]
    )
    domains = np.stack(
        [cell_counts(predicted_N[d::3], confidence_N[d::3], num_classes=CLASSES) for d in range(3)]
    )
    folder = bundles / bundle_id
    folder.mkdir(parents=True)
    write_bundle(folder, from_dict(Bundle, values, source="test"))
    write_reference(
        folder / "reference.npz",
        Reference(
            held_out_counts_DCB=domains if held_out else np.zeros_like(domains),
            validation_counts_DCB=domains,
            labelled_counts_CCB=labelled,
            embedding_mean_E=np.zeros(2),
            embedding_projection_EP=np.eye(2),
            novelty_quantiles_Q=np.linspace(0, 1, 5),
        ),
    )
    assert labelled.shape == (CLASSES, CLASSES, NUM_CONFIDENCE_BINS)


@dataclass
class Station:
    """An evaluator with its folders, a clock that a test sets, and the triggers it sent."""

    root: Path
    plan: Plan = PLAN
    now_s: float = START
    answering: frozenset[str] | None = None

    def __post_init__(self) -> None:
        self.triggers: list[Trigger] = []

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def store(self) -> MonitorStore:
        return open_monitor(self.root / "monitor.db")

    def send(self, trigger: Trigger) -> bool:
        new = all(t.idempotency_key != trigger.idempotency_key for t in self.triggers)
        self.triggers += [trigger] if new else []
        return new

    def evaluator(self) -> Evaluator:
        around = Surroundings(
            spool=self.spool,
            bundles=self.root / "bundles",
            answering=lambda _: self.answering,
            send=self.send,
            grace_s=0.0,
        )
        return Evaluator(self.store, self.plan, around, clock=lambda: self.now_s)


def refuse_first(
    monkeypatch: pytest.MonkeyPatch, evaluator: Evaluator, is_it: Callable[[TickWrite], object]
) -> list[TickWrite]:
    """Lock the database for the first write of a kind; the list takes every try of it."""
    commit = evaluator.store.commit
    tries: list[TickWrite] = []

    def commit_later(change: TickWrite) -> None:
        tries.extend([change] if is_it(change) else [])
        if is_it(change) and len(tries) == 1:
            raise ConflictError("monitor.db was locked")
        commit(change)

    monkeypatch.setattr(evaluator.store, "commit", commit_later)
    return tries
