"""What watching costs: CPU time in the worker, of a tick and of a scrape; bytes of state.

    python -m benchmarks.monitor_cost

CPU time of this process, which other work on the machine changes less than the time on the wall.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from monitoring.board import Board
from monitoring.collector import BoardCollector
from monitoring.evaluator import Evaluator, Pass
from monitoring.retraining_series import RetrainingSeries
from monitoring.surroundings import Surroundings
from redshank.events import SCHEMA, Event, EventWriter
from redshank.registry import Registry
from redshank.settings import MonitoringSettings
from redshank.store.control import open_control
from redshank.store.monitor import open_monitor

from .monitor_field import PLAN
from .monitor_pools import ROOT, Pool, Pools, prepare_pools

BATCH = 500
"""Events a flush, as `serving.flush_events`."""
PER_DOMAIN = 4
"""Events of a domain in a tick."""
TICKS = 4
BURN_IN = 8
START = 1_000_000


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    before = time.process_time()
    work()
    return time.process_time() - before


def events(pool: Pool, rng: np.random.Generator, domain: str, tick: int) -> Iterator[Event]:
    """A domain's events in one tick."""
    for n, i in enumerate(rng.integers(0, len(pool.label_N), PER_DOMAIN)):
        at_s = START + tick + (n + 0.5) / PER_DOMAIN
        yield Event(
            schema=SCHEMA,
            event_id=f"{domain}-{tick}-{n}",
            received_at=at_s,
            domain=domain,
            model="digits",
            version="b1",
            role="live",
            outcome="ok",
            class_index=int(pool.class_N[i]),
            confidence=float(pool.confidence_N[i]),
            margin=0.5,
            novelty=float(pool.novelty_N[i]),
            dhash=f"{int(rng.integers(2**63)):016x}",
            brightness_mean=0.5,
            brightness_spread=0.2,
            sequence_id="",
            client="camera",
            latency_ms=3.0,
            # digits in front too: files are told apart by the first ones
            image_sha256=f"{int(rng.integers(2**63)):016x}" * 4,
            stored=False,
        )


def worker_us(pool: Pool, root: Path) -> float:
    """CPU microseconds an event costs the thread that writes the spool."""
    rng = np.random.default_rng(0)
    made = [e for n in range(2000) for e in events(pool, rng, "harbour", n)]
    with EventWriter(root, "w") as writer:
        writer.append(made[:BATCH])
        batches = [made[i : i + BATCH] for i in range(BATCH, len(made), BATCH)]
        return 1e6 * cpu(lambda: [writer.append(b) for b in batches]) / (len(made) - BATCH)


def evaluate(pools: Pools, root: Path, domains: int) -> tuple[list[float], Evaluator]:
    """CPU seconds of each tick of so many domains, and the evaluator afterwards."""
    rng = np.random.default_rng(1)
    home = pools.site("mnist")
    (root / "bundles").mkdir(parents=True)
    (root / "bundles" / "b1").symlink_to(pools.bundle.resolve())
    plan = PLAN.__class__(
        **{**vars(PLAN), "tick_s": 1.0, "burn_in_scenes": BURN_IN, "max_domains": domains}
    )
    now = [float(START)]
    around = Surroundings(root / "spool", root / "bundles", lambda _: None, None, 0.0)
    evaluator = Evaluator(open_monitor(root / "monitor.db"), plan, around, clock=lambda: now[0])
    found = []
    with EventWriter(root / "spool", "w") as writer:
        for tick in range(TICKS):
            for n in range(domains):
                writer.append(events(home, rng, f"site-{n:04d}", tick))
            now[0] = START + tick + 1.0
            found.append(cpu(evaluator.pass_once))
    return found, evaluator


def scrape_s(evaluator: Evaluator, root: Path) -> tuple[float, int]:
    """CPU seconds and bytes of one scrape of every domain."""
    settings = MonitoringSettings(metrics_domains=len(evaluator.answering_rows()))
    board = Board(settings, lambda: START + TICKS)
    board.publish(evaluator, Pass(1, 1, 0.0))
    registry = CollectorRegistry(auto_describe=False)
    control = open_control(f"sqlite:///{root / 'control.db'}")
    retraining = RetrainingSeries(control, Registry(root / "models", root / "bundles"))
    registry.register(BoardCollector(board, retraining))
    size = len(generate_latest(registry))
    found = statistics.median(cpu(lambda: generate_latest(registry)) for _ in range(3))
    control.close()
    return found, size


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--domains", type=int, nargs="+", default=[1000, 5000])
    options = parser.parse_args(arguments)
    pools = prepare_pools(options.root)
    print("| what | cost |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        cost = worker_us(pools.site("mnist"), Path(folder))
        print(f"| writing an event, in the worker's flush thread | {cost:.1f} us CPU |", flush=True)
    for domains in options.domains:
        with tempfile.TemporaryDirectory() as folder:
            ticks, evaluator = evaluate(pools, Path(folder), domains)
            rows = evaluator.answering_rows()
            memory = statistics.median(len(json.dumps(row.memory)) for row in rows)
            scrape, size = scrape_s(evaluator, Path(folder))
            evaluator.store.engine.dispose()
        print(
            f"| a tick of {domains} domains, {PER_DOMAIN} images each, learning | "
            f"{1000 * ticks[0]:.0f} ms CPU |\n"
            f"| the same with both detectors of each | {1000 * ticks[-1]:.0f} ms CPU |\n"
            f"| state of a domain, as stored | {memory / 1000:.1f} kB |\n"
            f"| a scrape of {domains} domains | {1000 * scrape:.0f} ms CPU, {size / 1e6:.1f} MB |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
