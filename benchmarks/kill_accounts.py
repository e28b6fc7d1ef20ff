"""What clients saw against what was killed and what is in the spools: pure accounting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .kill_traffic import Reply

Span = tuple[float, float]
"""Begin and end, in seconds since the epoch."""
SLACK_S = 0.5
"""A busy machine notices, writes and answers later than it should."""
STEADY_S = 3.0
"""A killed server's last workers end within this."""


@dataclass(frozen=True)
class Failures:
    """Failed requests by what had been killed."""

    server: int
    """While the whole server was down."""
    worker: int
    """In the second after a worker was killed: its open connections."""
    other: int


@dataclass(frozen=True)
class Lost:
    """Acknowledged answers that have no event."""

    in_flush: int
    """Given so shortly before a worker was killed that the event was still in memory."""
    other: int
    oldest_s: float
    """Longest time from an answer whose event is lost to the kill that took it."""


def outages(kills_s: Iterable[float], ready: Sequence[tuple[float, bool]]) -> list[Span]:
    """For each kill of the supervisor: from the kill until the server took traffic again.

    The old workers answer for a moment after the kill, one perhaps a little longer than the other:
    the server is back when it was not ready, then is, and stays so for `STEADY_S`.

    Args:
        kills_s: when the supervisor was killed.
        ready: samples of `/readyz`, in order of time.
    """
    return [(kill_s, _back_s(kill_s, ready)) for kill_s in kills_s]


def _back_s(kill_s: float, ready: Sequence[tuple[float, bool]]) -> float:
    down_s, up_s = None, None
    for at_s, is_ready in ready:
        if at_s <= kill_s:
            continue
        if not is_ready:
            down_s, up_s = at_s, None
        elif down_s is not None:
            up_s = at_s if up_s is None else up_s
            if at_s - up_s >= STEADY_S:
                return up_s
    return up_s or down_s or kill_s


def sort_failures(
    replies: Iterable[Reply], *, down: Sequence[Span], worker_kills_s: Sequence[float]
) -> Failures:
    """Name the cause of each failed request."""
    moments = [(kill_s, kill_s + 1.0) for kill_s in worker_kills_s]
    counts: Counter[str] = Counter()
    for reply in replies:
        if reply.ok:
            continue
        if _touches(reply, down):
            counts["server"] += 1
        elif _touches(reply, moments):
            counts["worker"] += 1
        else:
            counts["other"] += 1
    return Failures(counts["server"], counts["worker"], counts["other"])


def find_lost(
    replies: Iterable[Reply],
    recorded: Collection[str],
    *,
    worker_kills_s: Sequence[float],
    flush_s: float,
) -> Lost:
    """Acknowledged answers without event, by whether a kill within `flush_s` explains them."""
    in_flush = other = 0
    oldest_s = 0.0
    for reply in replies:
        if not reply.ok or reply.sequence_id in recorded:
            continue
        ages = [k - reply.ended_at for k in worker_kills_s if k >= reply.ended_at - SLACK_S]
        age = min(ages, default=float("inf"))
        if age <= flush_s + SLACK_S:
            in_flush += 1
            oldest_s = max(oldest_s, age)
        else:
            other += 1
    return Lost(in_flush, other, oldest_s)


def count_mislabelled(replies: Iterable[Reply], live_since_s: Mapping[str, float]) -> int:
    """Answers that name a version which was not live before they were given."""
    return sum(
        reply.ok and live_since_s.get(reply.version, float("inf")) > reply.ended_at
        for reply in replies
    )


def twice(values: Iterable[str]) -> int:
    """How many values occur more than once."""
    return sum(count > 1 for count in Counter(values).values())


def _touches(reply: Reply, spans: Iterable[Span]) -> bool:
    return any(reply.ended_at >= begin and reply.sent_at <= end + SLACK_S for begin, end in spans)
