"""Disks, locks and workers fail under load: do predictions go on, and is every loss counted?

    python -m benchmarks.serving_faults

Two workers answer a steady stream of pictures while one thing after another breaks around them (see
`faults`). Every request has a sequence id of its own; a reader follows the spool as the evaluator
does. Exit status 1 unless every answer is right, requests fail only with the connections of a
killed worker, every answer has its event or is counted in `redshank_events_dropped_total`, losses
stand in the log, and after each fault events and images are kept again.
"""

from __future__ import annotations

import argparse
import http.client
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redshank.fieldstore import FieldStore

from . import faults
from .fault_traffic import CLIENTS, Reader, Reply, Right, Traffic
from .faults import Fault, Place
from .hostile_uploads import right_answers
from .serving_load import RunningServer, picture, running_server, write_network

BUNDLE, SITE, WORKERS = "20261122T090000-aaaaaa", "site", 2
SETTINGS = (
    f"serving.capture_domains={SITE}",
    "serving.capture_per_domain=500",
    "serving.capture_per_s=1000",
)
SETTLE_S = 20.0
"""Longest time after a fault until every answer is accounted for."""
REST_S = 2.5
"""So long nothing changes where all is accounted for: twice the flush, and a look."""
DISK_MIB = 48
_DROPPED = re.compile(r'^redshank_events_dropped_total\{reason="(\w+)"\} (\S+)$', re.M)
_SAID = re.compile(r"\b(?:WARNING|ERROR)\b|^\[(?:warning|error)", re.M | re.I)


@dataclass(frozen=True)
class Trial:
    """A fault and what it may do."""

    name: str
    fault: Fault
    may_break: int = 0
    """Connections that it may end."""


@dataclass(frozen=True)
class Found:
    """One trial's row."""

    trial: Trial
    replies: list[Reply]
    missing: int
    """Answers without an event."""
    dropped: Counter[str]
    """Reason -> events, as the metrics say."""
    settled_s: float
    """From the end of the fault until every answer had its event or was counted."""
    recovers: bool
    """Whether events and images of later requests are kept."""
    said: tuple[str, ...]
    """Warnings and errors in the log."""

    @property
    def ended(self) -> int:
        """Requests whose connection ended."""
        return sum(reply.status == 0 for reply in self.replies)

    @property
    def wrong(self) -> list[str]:
        """Answers that are not right."""
        return [reply.problem for reply in self.replies if reply.status and reply.problem]

    @property
    def uncounted(self) -> int:
        """Answers that are neither recorded nor counted as dropped."""
        return max(0, self.missing - self.dropped.total())

    @property
    def problems(self) -> list[str]:
        """What breaks the promise."""
        told = {
            "connections ended": self.ended > self.trial.may_break,
            f"{self.uncounted} answers without event are not counted": self.uncounted > 0,
            "losses are not in the log": self.dropped.total() > 0 and not self.said,
            "it does not recover": not self.recovers,
        }
        return [*self.wrong[:3], *(text for text, is_so in told.items() if is_so)]


def main() -> int:
    """Break one thing after another; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each fault lasts")
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with faults.small_disk(home, mib=DISK_MIB) as is_small:
            trials = [t for t in all_trials(is_small=is_small) if options.only in t.name]
            return print_table(run(home, trials, seconds=options.seconds))


def all_trials(*, is_small: bool) -> list[Trial]:
    """Every fault; a disk is filled only where it `is_small` and the home's own."""
    full_too = partial(faults.and_a_worker_killed, fault=faults.disk_full)
    no_spool = partial(faults.a_file_instead, name="spool")
    no_spool_too = partial(faults.and_a_worker_killed, fault=no_spool)
    return [
        Trial("worker killed", faults.worker_killed, CLIENTS),
        *([Trial("disk full", faults.disk_full)] if is_small else []),
        *([Trial("disk full, worker killed", full_too, CLIENTS)] if is_small else []),
        Trial("no file may grow (RLIMIT_FSIZE)", faults.no_file_grows),
        Trial("spool files locked", faults.spool_locked),
        *(
            Trial(f"{text} {word}", partial(fault, name=name))
            for name, text in (("spool", "spool folder"), ("field", "field store"))
            for word, fault in (
                ("deleted", faults.deleted),
                ("a file", faults.a_file_instead),
                ("read-only", faults.read_only),
            )
        ),
        Trial("spool folder a file, worker killed", no_spool_too, CLIENTS),
        Trial("server's own folder deleted", partial(faults.deleted, name="servers")),
    ]


def run(home: Path, trials: Sequence[Trial], *, seconds: float) -> Iterator[Found]:
    """Serve from `home` and go through all trials, each fault lasting so many seconds."""
    folder = write_network(home / "bundles" / BUNDLE, word="a")
    images = [picture(seed) for seed in range(32)]
    expected = list(zip(images, right_answers(folder, images), strict=True))
    reader = Reader(home / "spool")
    with running_server(home, workers=WORKERS, bundle=BUNDLE, settings=SETTINGS) as server:
        for trial in trials:
            yield _try(trial, home, server, reader, expected, seconds)


def _try(
    trial: Trial,
    home: Path,
    server: RunningServer,
    reader: Reader,
    expected: Sequence[Right],
    seconds: float,
) -> Found:
    """One fault, with calm time before and after it, until all is accounted for."""
    log = home / "serve.log"
    before, log_start = dropped(server.port), log.stat().st_size
    with Traffic(server.port, trial.name, expected, domain=SITE) as traffic:
        _follow(reader, seconds / 2)
        with trial.fault(Place(home, server.worker_pids)):
            _follow(reader, seconds)
        ended_at = time.monotonic()
        _follow(reader, seconds * 0.75)
    answered = {reply.sequence_id for reply in traffic.replies if reply.status == 200}
    missing, lost, settled_s = _settled(server.port, reader, answered, before, ended_at)
    said = log.read_bytes()[log_start:].decode(errors="replace").splitlines()
    return Found(
        trial,
        traffic.replies,
        missing,
        lost,
        settled_s,
        _is_well(home, server, reader, expected),
        tuple(line for line in said if _SAID.search(line)),
    )


def _settled(
    port: int, reader: Reader, answered: set[str], before: Counter[str], ended_at: float
) -> tuple[int, Counter[str], float]:
    """Answers without event and what was dropped, when neither changes any more; and when."""
    former, since = (-1, Counter[str]()), time.monotonic()
    while True:
        reader.look()
        state = len(answered - reader.seen), dropped(port) - before
        now = time.monotonic()
        if state != former:
            former, since = state, now
        is_accounted_for = state[0] <= state[1].total() and now - since > REST_S
        if state[0] == 0 or is_accounted_for or now - ended_at > SETTLE_S:
            return *state, since - ended_at
        time.sleep(0.2)


def _follow(reader: Reader, seconds: float) -> None:
    """Read events as they come, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reader.look()
        time.sleep(0.1)


def _is_well(home: Path, server: RunningServer, reader: Reader, expected: Sequence[Right]) -> bool:
    """Whether new requests leave events and images, within `SETTLE_S`."""
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end:
        with Traffic(server.port, f"well-{end}", expected, domain=SITE) as traffic:
            time.sleep(0.5)
        time.sleep(2.0)  # twice flush_s
        reader.look()
        asked = {reply.sequence_id for reply in traffic.replies if reply.status == 200}
        kept = {image.sequence_id for image in FieldStore(home / "field").images(SITE)}
        if asked and asked <= reader.seen and len(asked & kept) >= len(asked) / 2:
            return True
    return False


def dropped(port: int) -> Counter[str]:
    """Reason -> events that never reached the spool, as the metrics of all workers say."""
    for _ in range(50):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            return Counter({reason: round(float(n)) for reason, n in _DROPPED.findall(text)})
        except (OSError, http.client.HTTPException):  # a worker that was killed
            time.sleep(0.1)
        finally:
            connection.close()
    raise SystemExit("/metrics is not answered")


def print_table(found: Iterable[Found]) -> int:
    """Markdown, row by row as trials end; the exit status."""
    print("| fault | requests | answered right | connections ended | events in the spool |", end="")
    print(" counted as dropped | uncounted | settled, s | recovers |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    status = 0
    for one in found:
        answered = [reply for reply in one.replies if not reply.problem]
        lost = ", ".join(f"{n} {reason}" for reason, n in sorted(one.dropped.items()) if n)
        cells = [
            one.trial.name,
            len(one.replies),
            len(answered),
            one.ended,
            len(answered) - one.missing,
            lost or 0,
            one.uncounted,
            f"{one.settled_s:.1f}",
            "yes" if one.recovers else "no",
        ]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        for line in one.said[:3]:
            print(f"{one.trial.name}: {line[:200]}", file=sys.stderr)
        for problem in one.problems:
            status = 1
            print(f"BROKEN {one.trial.name}: {problem}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
