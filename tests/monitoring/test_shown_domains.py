from __future__ import annotations

from typing import Any

from monitoring.shown_domains import Counts, OtherDomains, nearest_threshold, shown_rows
from redshank.store.monitor_rows import StreamKey, StreamRow


def row(
    domain: str, images: int = 0, *, gap: float | None = None, alarm: bool = False
) -> StreamRow:
    evidence = {} if gap is None else {"relative": {"total_log10": gap, "threshold_log10": 0.0}}
    detail: dict[str, Any] = {"images": images, "evidence": evidence}
    detail |= {"alarm": {}} if alarm else {}
    totals = {"images": images, "errors": 0}
    key = StreamKey("m", "b1", domain)
    return StreamRow(key, 0, 0.0, "healthy", "", detail, {"totals": totals})


def test_alarmed_then_suspect_then_busy_domains_are_shown() -> None:
    rows = [
        row("quiet", 1),
        row("busy", 900),
        row("suspect", 5, gap=-0.5),
        row("calm", 5, gap=-3.0),
        row("alarmed", 2, gap=-9.0, alarm=True),
    ]
    order = ["alarmed", "suspect", "calm", "busy", "quiet"]
    for most in range(1, 6):
        assert {r.key.domain for r in shown_rows(rows, most)} == set(order[:most])
    assert nearest_threshold(rows[2]) == -0.5


def test_sums_of_the_others_only_rise_whoever_comes_and_goes() -> None:
    others, group = OtherDomains(), ("m", "b1")
    a, b = row("a", 10), row("b", 100)
    assert others.add([a, b], [b]) == {group: Counts(10, 0)}
    assert others.add([row("a", 12), row("b", 130)], [b]) == {group: Counts(12, 0)}
    # a comes into view with its own series, b leaves: only what is new of b counts here
    assert others.add([row("a", 15), row("b", 131)], [row("a", 15)]) == {group: Counts(13, 0)}
    assert others.add([row("a", 15), row("b", 5)], [row("a", 15)]) == {group: Counts(13, 0)}
    assert others.add([row("b", 7)], []) == {group: Counts(15, 0)}
