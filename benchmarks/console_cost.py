"""What the console costs: time of its pages and of a scrape, for fleets of several sizes.

    python -m benchmarks.console_cost --domains 1000 5000

Rows of a real evaluator are copied to as many domains; windows are those of a month of one domain.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from monitoring.collector import BoardCollector
from monitoring.console.fleet import ROWS, SPARK_TICKS
from monitoring.console.messages import Request
from monitoring.console.site import Console
from monitoring.console.sources import Sources
from redshank.store.monitor import TickWrite
from tests.monitoring.console.scene import make_sources

MONTH_TICKS = 8640
"""Of the 300 s by default."""
REPEATS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, nargs="+", default=[1000, 5000])
    options = parser.parse_args(arguments)
    print("| what | time, CPU | size |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        sources = make_sources(Path(folder))
        _fill(sources)
        page = "/domains/default/home?hours=720"
        _print("page of a domain, 30 days of ticks", partial(_page, sources, page))
        for domains in options.domains:
            fleet = _grown(sources, domains)
            _print(f"first page of {domains} domains", partial(_page, fleet, "/"))
            _print(f"`/api/domains` of {domains}", partial(_page, fleet, "/api/domains"))
            most = fleet.settings.monitoring.metrics_domains
            what = f"scrape of {domains} domains, {min(domains, most)} with series of their own"
            _print(what, _scrape(fleet))
    return 0


def _print(what: str, made: Callable[[], bytes]) -> None:
    size, times = len(made()), []
    for _ in range(REPEATS):
        begin = time.process_time()
        made()
        times.append(time.process_time() - begin)
    print(
        f"| {what} | {1000 * statistics.median(times):.0f} ms | {size / 1000:.0f} kB |", flush=True
    )


def _page(sources: Sources, target: str) -> bytes:
    answer = Console(sources).answer(Request("GET", target))
    assert answer.status == 200, answer.body
    return answer.body


def _scrape(sources: Sources) -> Callable[[], bytes]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BoardCollector(sources.board))
    return lambda: generate_latest(registry)


def _fill(sources: Sources) -> None:
    """A month of windows of `home`, and the sparklines of the fleet's first page."""
    newest = sources.monitor.windows(domain="home")[-1]
    names = [f"site {n:05d}" for n in range(ROWS * len(sources.board.picture.rows))]
    month = (("home", n) for n in range(100, MONTH_TICKS))
    lines = ((name, n) for name in names for n in range(SPARK_TICKS))
    windows = tuple(
        dataclasses.replace(
            newest,
            key=newest.key._replace(domain=domain),
            tick=newest.tick - n,
            at_s=newest.at_s - n,
        )
        for domain, n in (*month, *lines)
    )
    sources.monitor.commit(TickWrite(tick=newest.tick, windows=windows))


def _grown(sources: Sources, domains: int) -> Sources:
    """The same with copies of its rows under other names."""
    rows = sources.board.picture.rows
    copies = tuple(
        dataclasses.replace(row, key=row.key._replace(domain=f"site {n:05d}"))
        for n in range(domains)
        for row in (rows[n % len(rows)],)
    )
    board = type(sources.board)(sources.board.monitoring, sources.board.clock)
    board.picture = dataclasses.replace(sources.board.picture, rows=copies)
    return dataclasses.replace(sources, board=board)


if __name__ == "__main__":
    raise SystemExit(main())
