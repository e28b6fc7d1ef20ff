"""The status page: the fleet in one HTML table, without scripts."""

from __future__ import annotations

from html import escape

from redshank.files import rfc3339
from redshank.store.monitor_rows import StreamRow

from .board import Board

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>redshank: fleet</title>
<meta http-equiv="refresh" content="10">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
 body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
 table { border-collapse: collapse; width: 100% }
 th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #ccc8 }
 td { vertical-align: top }
 td.n { text-align: right; font-variant-numeric: tabular-nums }
 .degraded { background: #c0392b; color: #fff } .drift { background: #e6b35c; color: #000 }
 .unknown { background: #8e7cc3; color: #fff } .silent { background: #888; color: #fff }
 .state { border-radius: .3rem; padding: 0 .4rem }
</style></head><body>
"""
ORDER = ("degraded", "unknown", "drift", "silent", "learning", "healthy")


def fleet_page(board: Board) -> str:
    """The whole page; the worst domains come first."""
    picture = board.picture
    rows = sorted(picture.rows, key=lambda row: (ORDER.index(board.state(row)[0]), row.key))
    body = "\n".join(_row(board, row) for row in rows)
    problems = "".join(f"<p>{escape(problem)}</p>" for problem in picture.problems)
    return (
        f"{HEAD}<h1>Domains</h1>\n<p>{len(rows)} under watch; last pass "
        f"{rfc3339(picture.finished_s)}, {1000 * picture.seconds:.0f} ms. "
        f'<a href="/metrics">metrics</a></p>{problems}\n<table>\n'
        "<tr><th>domain</th><th>state</th><th>why</th><th>confidence</th><th>evidence</th>"
        f"<th>images</th><th>version</th></tr>\n{body}\n</table></body></html>\n"
    )


def _row(board: Board, row: StreamRow) -> str:
    state, sentence = board.state(row)
    mean = row.detail["mean_confidence"]
    shown = "" if mean is None else f"{mean:.1%}"
    return (
        f"<tr><td>{escape(row.key.domain)}</td>"
        f'<td><span class="state {state}">{state}</span></td><td>{escape(sentence)}</td>'
        f'<td class="n">{shown}</td><td class="n">{_evidence(row)}</td>'
        f'<td class="n">{row.detail["images"]}</td>'
        f"<td>{escape(row.key.model)}<br>{escape(row.key.version)}</td></tr>"
    )


def _evidence(row: StreamRow) -> str:
    """Evidence against threshold of each detector, in powers of ten."""
    return "<br>".join(
        f"{name} 10<sup>{n['total_log10']:.1f}</sup> of 10<sup>{n['threshold_log10']:.1f}</sup>"
        for name, n in row.detail["evidence"].items()
    )
