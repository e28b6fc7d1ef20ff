"""Sparklines and line charts as inline SVG: coloured by the style sheet, told in words besides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from redshank.files import rfc3339

WIDTH, HEIGHT = 440, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 16, 26
MOST_POINTS = 300
"""Points of a line; more are joined, each group by its most telling value."""
DAY_S = 86_400.0

Value = float | None
"""None where there is nothing to draw: the line has a gap there."""


@dataclass(frozen=True)
class Line:
    """One line; `style` is a class of the style sheet."""

    name: str
    values: Sequence[Value]
    style: str


@dataclass(frozen=True)
class Mark:
    """A moment worth a vertical line."""

    name: str
    at_s: float
    style: str
    is_before: bool = False
    """Its name stands to the left: another mark may follow closely."""


def sparkline(values: Sequence[Value], label: str, *, level: Value = None) -> Markup:
    """A line without axes; `level` is drawn across. Empty without two values."""
    known = [v for v in values if v is not None]
    if len(known) < 2:
        return Markup("")
    low, high = _range([*known, level])
    points = [
        None if v is None else (100 * n / (len(values) - 1), 22 - 20 * (v - low) / (high - low))
        for n, v in enumerate(values)
    ]
    across = ""
    if level is not None:
        y = 22 - 20 * (level - low) / (high - low)
        across = f'<path class="level" d="M0 {y:.1f}H100"/>'
    return Markup(
        '<svg class="spark" role="img" viewBox="0 0 100 24" preserveAspectRatio="none" '
        'aria-label="{}">{}<path class="main" d="{}"/></svg>'
    ).format(label, Markup(across), _path(points))


def chart(  # a chart is what its parts are, all by name
    title: str,
    times_s: Sequence[float],
    lines: Iterable[Line],
    *,
    marks: Iterable[Mark] = (),
    percent: bool = False,
    telling: Callable[[Iterable[float]], float] = max,
) -> Markup:
    """Lines over time with axes, a legend and marks. Empty without two points in time.

    Args:
        title: what it shows; told with first, last and most telling value to those who hear it.
        times_s: seconds since the epoch.
        lines: as many values each as there are times.
        marks: vertical lines.
        percent: values are ratios, shown as percent.
        telling: which value stands for many where there are too many to draw: max or min.
    """
    if len(times_s) < 2:
        return Markup("")
    times_s, drawn = _thinned(times_s, tuple(lines), telling)
    low, high = _range([v for line in drawn for v in line.values])
    begin, end = times_s[0], max(times_s[-1], times_s[0] + 1e-9)

    def x_of(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (min(max(at_s, begin), end) - begin) / (end - begin)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = [_grid(low, high, y_of(low), y_of(high), percent=percent), _time_axis(begin, end)]
    for line in drawn:
        points = [
            None if v is None else (x_of(t), y_of(v))
            for t, v in zip(times_s, line.values, strict=True)
        ]
        parts.append(f'<path class="{line.style}" d="{_path(points)}"/>')
    for mark in marks:
        x = x_of(mark.at_s)
        parts.append(f'<path class="{mark.style}" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        left = x > WIDTH - 60 or (mark.is_before and x > LEFT + 60)
        side, shift = ('text-anchor="end"', -4) if left else ("", 4)
        parts.append(f'<text x="{x + shift:.1f}" y="{TOP - 4}" {side}>{escape(mark.name)}</text>')
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}">{}</svg>{}'
    ).format(WIDTH, HEIGHT, _told(title, drawn, telling), Markup("".join(parts)), _legend(drawn))


def _told(title: str, lines: Sequence[Line], telling: Callable[[Iterable[float]], float]) -> str:
    """The chart in words: where each line began, what was most telling, and where it is now."""
    word = "at most" if telling is max else "at least"
    told = []
    for line in lines:
        known = [v for v in line.values if v is not None]
        if known:
            span = f"from {known[0]:.3g} to {known[-1]:.3g}, {word} {telling(known):.3g}"
            told.append(f"{line.name} {span}")
    return f"{title}: {'; '.join(told)}"


def _legend(lines: Sequence[Line]) -> Markup:
    items = Markup("").join(
        Markup('<li><svg class="key" viewBox="0 0 16 8" aria-hidden="true">'
               '<path class="{}" d="M0 4H16"/></svg>{}</li>').format(line.style, line.name)
        for line in lines
    )  # fmt: skip
    return Markup('<ul class="legend">{}</ul>').format(items)


def _grid(low: float, high: float, y_low: float, y_high: float, *, percent: bool) -> str:
    parts = []
    for n in range(3):
        value, y = low + n * (high - low) / 2, y_low + n * (y_high - y_low) / 2
        shown = f"{value:.0%}" if percent and high - low > 0.1 else f"{value:.1%}"
        shown = shown if percent else f"{value:.1f}"
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    return "".join(parts)


def _time_axis(begin_s: float, end_s: float) -> str:
    """First and last moment, as short as the span allows; UTC."""
    first, last = rfc3339(begin_s), rfc3339(end_s)
    cut = slice(5, 16) if end_s - begin_s > DAY_S else slice(11, 19)
    texts = [moment[cut].replace("T", " ") for moment in (first, last)]
    y = HEIGHT - 8
    return (
        f'<text x="{LEFT}" y="{y}">{texts[0]}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">{texts[1]} UTC</text>'
    )


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Path data; a None lifts the pen."""
    text, pen = "", "M"
    for point in points:
        if point is None:
            pen = "M"
        else:
            text += f"{pen}{point[0]:.1f} {point[1]:.1f}"
            pen = "L"
    return text


def _range(values: Iterable[Value]) -> tuple[float, float]:
    known = [v for v in values if v is not None and math.isfinite(v)] or [0.0]
    low, high = min(known), max(known)
    return (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)


def _thinned(
    times_s: Sequence[float], lines: tuple[Line, ...], telling: Callable[[Iterable[float]], float]
) -> tuple[Sequence[float], tuple[Line, ...]]:
    """At most MOST_POINTS groups, each at its last moment with its most telling value."""
    size = math.ceil(len(times_s) / MOST_POINTS)
    if size == 1:
        return times_s, lines
    starts = range(0, len(times_s), size)
    thin = [
        Line(line.name, [_one(line.values[s : s + size], telling) for s in starts], line.style)
        for line in lines
    ]
    return [times_s[min(s + size, len(times_s)) - 1] for s in starts], tuple(thin)


def _one(values: Sequence[Value], telling: Callable[[Iterable[float]], float]) -> Value:
    known = [v for v in values if v is not None]
    return telling(known) if known else None
