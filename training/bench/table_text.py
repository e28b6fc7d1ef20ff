"""The table as text for a terminal and as Markdown for a page."""

from __future__ import annotations

from collections.abc import Sequence

from .cells import labels_text
from .table import LATENT, Comparison, MeanSpread, Row, Table

Grid = tuple[str, list[str], list[list[str]]]
"""A sentence above it, the head, the lines."""


def as_text(table: Table) -> str:
    """Columns padded to their width; the first to the left, figures to the right."""
    return "\n\n".join(f"{title}\n\n{_padded(head, lines)}" for title, head, lines in _grids(table))


def as_markdown(table: Table) -> str:
    """The same as Markdown tables."""
    return "\n\n".join(f"{title}\n\n{_piped(head, lines)}" for title, head, lines in _grids(table))


def _grids(table: Table) -> list[Grid]:
    grids = [_accuracy_grid(table), _quality_grid(table), _latent_grid(table)]
    grids += [_comparison_grid(table, "accuracy", "Accuracy"), _latent_comparison_grid(table)]
    return [grid for grid in grids if grid[2]]


def _accuracy_grid(table: Table) -> Grid:
    seeds = ", ".join(map(str, table.seeds))
    title = (
        f"Accuracy on the unseen domain in %, mean ± standard deviation over seeds ({seeds}). The "
        "average's spread is that of the seeds' averages; worst is the lowest mean."
    )
    head = ["method", "labels", *table.targets, "average", "worst", "cells"]
    return title, head, [_accuracy_line(row, table.targets) for row in table.rows]


def _accuracy_line(row: Row, targets: Sequence[str]) -> list[str]:
    cells = f"{row.cells}" if row.cells == row.wanted else f"{row.cells} of {row.wanted}"
    columns = [_mean_spread(row.accuracy[target]) for target in targets]
    name = [row.method, labels_text(row.labels_per_class)]
    return [*name, *columns, _mean_spread(row.average), _percent(row.worst), cells]


def _quality_grid(table: Table) -> Grid:
    title = (
        "Means over all cells. Pseudo-labels are those of the source domains' unlabelled images, "
        "as the final average gives them."
    )
    head = ["method", "labels", "ECE, unseen", "pseudo-labels right", "used", "images/s", "s"]
    lines = [
        [
            row.method,
            labels_text(row.labels_per_class),
            _percent(row.ece),
            _percent(row.pseudo_label_precision),
            _percent(row.pseudo_label_coverage),
            "-" if row.images_per_s is None else f"{row.images_per_s:.0f}",
            "-" if row.seconds is None else f"{row.seconds:.1f}",
        ]
        for row in table.rows
    ]
    return title, head, lines


def _latent_grid(table: Table) -> Grid:
    title = (
        "Latent space, means over the cells in which it was measured: accuracy in % of linear "
        "probes for the class (five folds; fitted on seen and measured on unseen domains) and for "
        "the domain, mean silhouette of classes, and of domains inside a class."
    )
    head = ["method", "labels", "class probe", "on the unseen", "domain probe"]
    head += ["class silhouette", "domain silhouette"]
    lines = []
    for row in table.rows:
        if any(row.latent.values()):
            values = [row.latent[name] for name in LATENT]
            probes = [_percent(v.mean if v else None) for v in values[:3]]
            silhouettes = [f"{v.mean:.3f}" if v else "-" for v in values[3:]]
            name = [row.method, labels_text(row.labels_per_class)]
            lines.append([*name, *probes, *silhouettes])
    return title, head, lines


def _comparison_grid(table: Table, measure: str, name: str) -> Grid:
    title = (
        f"{name}: differences in points, paired over targets and seeds; 95 % interval of each, "
        "exact sign-flip test, p also corrected for all comparisons (Holm)."
    )
    head = ["comparison", "difference", "95 %", "higher in", "p", "p, Holm"]
    chosen = [one for one in table.comparisons if one.measure == measure]
    return title, head, [_comparison_line(one, table) for one in chosen]


def _latent_comparison_grid(table: Table) -> Grid:
    """Do domains blur? The measures of that alone."""
    title, head, lines = _comparison_grid(table, "", "Latent space")
    for measure in ("domain_probe", "domain_silhouette", "class_probe_unseen"):
        _, _, some = _comparison_grid(table, measure, "")
        lines += [[f"{measure}: {line[0]}", *line[1:]] for line in some]
    return title, head, lines


def _comparison_line(one: Comparison, table: Table) -> list[str]:
    many = len({row.method for row in table.rows}) < len(table.rows)
    first, second = (
        f"{method} ({labels_text(labels)})" if many else method
        for method, labels in (one.first, one.second)
    )
    known = one.low is not None and one.high is not None
    interval = f"{100 * (one.low or 0):+.1f} to {100 * (one.high or 0):+.1f}" if known else "-"
    return [
        f"{first} - {second}",
        f"{100 * one.difference:+.1f}",
        interval,
        f"{one.better} of {one.n}",
        _p(one.p),
        _p(one.p_holm),
    ]


def _padded(head: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(line[n]) for line in [head, *lines]) for n in range(len(head))]
    rows = []
    for line in [head, *lines]:
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


def _piped(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def _mean_spread(value: MeanSpread | None) -> str:
    if value is None:
        return "-"
    spread = f" ± {100 * value.spread:.1f}" if value.spread is not None else ""
    return f"{100 * value.mean:.1f}{spread}"


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.1f}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
