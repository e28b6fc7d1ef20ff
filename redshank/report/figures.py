"""Figures as inline SVG or PNG, drawn by matplotlib without a display.

Each function returns a complete `<svg>` or `<img>` element that says in words what it shows, for
people who hear the page.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redshank.report.collect import RunStory
from redshank.run import DomainMetrics
from redshank.store.monitor_rows import Alarm, Window

Floats = npt.NDArray[np.float64]

STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of domains may hold dollars
}
COLOURS = mpl.colormaps["tab10"]
MOST_NAMED = 20
"""Groups that a legend can list."""
ALARM_COLOUR = "#b3261e"
UNKNOWN_COLOUR = "#c9c9c9"
UNKNOWN = "unknown"
"""Group of images whose class nobody knows: drawn in grey."""


def training_curves(story: RunStory) -> str:
    """Losses, pseudo-label use and precision over the steps of one run."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 2.7), layout="constrained")
        losses, labels = figure.subplots(1, 2)
        steps = [row.step for row in story.history]
        for name, title in (
            ("loss_labelled", "labelled"),
            ("loss_unlabelled", "unlabelled"),
            ("loss_fixclr", "FixCLR"),
        ):
            losses.plot(steps, [getattr(row, name) for row in story.history], label=title)
        losses.set(title="losses", xlabel="step")
        losses.legend()
        labels.plot(steps, [row.mask_rate for row in story.history], label="used")
        precision = [row.pseudo_label_precision for row in story.history]
        known = [(s, p) for s, p in zip(steps, precision, strict=True) if p is not None]
        if known:
            labels.plot(*zip(*known, strict=True), label="correct among the used")
        labels.set(title="pseudo-labels (share)", xlabel="step", ylim=(0, 1.02))
        labels.legend(loc="center right")
        name = story.folder.name
        return _svg(figure, f"Losses and pseudo-labels over the training steps of {name}")


def accuracy_bars(runs: Sequence[RunStory]) -> str:
    """Accuracy per domain, one bar a run; of several splits the test, else the validation."""
    table = {story.folder.name: held_accuracy(story.run.metrics) for story in runs}
    domains = sorted({domain for row in table.values() for domain in row})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 2.7), layout="constrained")
        axes = figure.subplots()
        _grouped_bars(axes, domains, table)
        axes.set(ylabel="accuracy", ylim=(0, 1.05))
        return _svg(figure, f"Accuracy of each run on {', '.join(domains)}")


def held_accuracy(metrics: Sequence[DomainMetrics]) -> dict[str, float]:
    """Accuracy of each domain on the images that training kept furthest away from."""
    order = ("train", "val", "test")
    found: dict[str, float] = {}
    for metric in sorted(metrics, key=lambda metric: order.index(metric.split)):
        if metric.accuracy is not None:
            found[metric.domain] = metric.accuracy
    return found


def before_after(values: Mapping[str, float]) -> str:
    """A few accuracies side by side."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.4), layout="constrained")
        axes = figure.subplots()
        bars = axes.bar(list(values), list(values.values()), color=["#8a8a8a", "#2e7d32"])
        axes.bar_label(bars, fmt="{:.1%}")
        axes.set(ylabel="accuracy", ylim=(0, 1.1))
        shown = ", ".join(f"{name} {value:.1%}" for name, value in values.items())
        return _svg(figure, f"Accuracy {shown}")


def drift_evidence(domain: str, windows: Sequence[Window], alarms: Sequence[Alarm]) -> str:
    """Mean confidence, and the evidence against "nothing got worse", over images seen."""
    versions = sorted({window.key.version for window in windows})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 2.7), layout="constrained")
        confidence, evidence = figure.subplots(1, 2, sharex=True)
        offset = 0
        for number, version in enumerate(versions):
            mine = [window for window in windows if window.key.version == version]
            images = offset + np.cumsum([window.events for window in mine])
            offset = int(images[-1])
            colour = COLOURS(number % 10)
            _plot_confidence(confidence, images, mine, colour, version)
            _plot_evidence(evidence, images, mine, colour)
            for alarm in alarms:
                if alarm.key.version == version and alarm.key.domain == domain:
                    _mark_alarm((confidence, evidence), images, mine, alarm)
        confidence.set(title="mean confidence", xlabel="images", ylim=(0, 1.02))
        confidence.legend(loc="lower left", fontsize=7)
        evidence.set(title="log10 evidence that it got worse", xlabel="images")
        evidence.legend(loc="upper left", fontsize=7)
        return _svg(figure, f"Mean confidence and evidence of a change in {domain}, over images")


def scatter(points_N2: Floats, groups: Sequence[str], title: str, *, of: str) -> str:
    """Points in a plane, coloured by group, as a PNG (too many points for SVG)."""
    names = sorted(set(groups))
    label_N = np.array(groups)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.0, 3.6), layout="constrained", dpi=110)
        axes = figure.subplots()
        for number, name in enumerate(names):
            mine = points_N2[label_N == name]
            colour = UNKNOWN_COLOUR if name == UNKNOWN else COLOURS(number % 10)
            axes.scatter(mine[:, 0], mine[:, 1], s=5, color=colour, label=name)
        axes.set(title=title, xticks=[], yticks=[])
        axes.grid(visible=False)
        if len(names) <= MOST_NAMED:
            axes.legend(markerscale=2, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _png(figure, f"Embeddings of {of} in the plane, {title}: {', '.join(names)}")


def _grouped_bars(
    axes: Axes, domains: Sequence[str], table: Mapping[str, Mapping[str, float]]
) -> None:
    width = 0.8 / max(1, len(table))
    for number, (run, row) in enumerate(table.items()):
        places = np.arange(len(domains)) + (number - (len(table) - 1) / 2) * width
        heights = [row.get(domain, np.nan) for domain in domains]
        bars = axes.bar(places, heights, width, label=run)
        axes.bar_label(bars, [f"{h:.0%}" if h == h else "" for h in heights], fontsize=7)
    axes.set_xticks(np.arange(len(domains)), domains)
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(table))


def _plot_confidence(
    axes: Axes, images: Floats, windows: Sequence[Window], colour: object, version: str
) -> None:
    known = [(x, w.mean_confidence) for x, w in zip(images, windows, strict=True)]
    points = [(x, y) for x, y in known if y is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, marker=".", label=version)


def _plot_evidence(axes: Axes, images: Floats, windows: Sequence[Window], colour: object) -> None:
    for name, line in (("relative", "-"), ("absolute", ":")):
        known = [(x, getattr(w, name)) for x, w in zip(images, windows, strict=True)]
        points = [(x, e.confidence, e.threshold) for x, e in known if e is not None]
        if not points:
            continue
        x, value, threshold = zip(*points, strict=True)
        axes.plot(x, value, line, color=colour, label=f"{name} reference")
        axes.plot(x, threshold, "--", color="#666666", linewidth=0.8)


def _mark_alarm(
    both: Sequence[Axes], images: Floats, windows: Sequence[Window], alarm: Alarm
) -> None:
    ticks = [window.tick for window in windows]
    place = min(int(np.searchsorted(ticks, alarm.raised_tick)), len(images) - 1)
    for axes in both:
        axes.axvline(float(images[place]), color=ALARM_COLOUR, linewidth=1, label=alarm.kind)


def _svg(figure: Figure, label: str) -> str:
    """The figure's element; no two figures of a page share an id, as long as labels differ."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r' id="[A-Za-z0-9.]+_[0-9]+"', "", text[text.index("<svg") :])  # used by nothing
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


def _png(figure: Figure, label: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(label)}" src="data:image/png;base64,{data}">'
