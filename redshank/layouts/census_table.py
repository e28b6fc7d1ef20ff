"""The census as text: domain x class, labelled and unlabelled, then what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from redshank.layouts.census import BrokenImage, DomainCounts, Leak

WIDEST = 16
"""Classes up to which each has its own column."""
LONGEST = 20
"""Broken images and leaks that are listed one by one."""


def format_census(
    classes: Sequence[str],
    counts: Sequence[DomainCounts],
    broken: Sequence[BrokenImage],
    leaks: Sequence[Leak],
) -> str:
    """Lay the counts out as a table; a cell is labelled+unlabelled training images."""
    wide = len(classes) <= WIDEST
    names = list(classes) if wide else ["least a class", "most a class"]
    head = ["domain", "role", *names, "unknown", "val", "test"]
    rows = [_row(one, wide=wide) for one in counts]
    lines = ["training images: labelled+unlabelled", "", *_aligned([head, *rows]), ""]
    lines += _list("broken", [f"{one.path}: {one.reason}" for one in broken])
    lines += _list(
        "in two splits",
        [f"{one.path} ({one.split}) = {one.other_path} ({one.other_split})" for one in leaks],
    )
    return "\n".join(lines)


def _row(one: DomainCounts, *, wide: bool) -> list[str]:
    pairs = list(zip(one.labelled, one.unlabelled, strict=True))
    if not wide:
        pairs = [min(pairs, key=sum), max(pairs, key=sum)]
    cells = [f"{labelled}+{unlabelled}" for labelled, unlabelled in pairs]
    return [
        one.domain,
        one.role,
        *cells,
        str(one.unlabelled_unknown),
        str(one.val),
        str(one.test),
    ]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _list(title: str, lines: list[str]) -> list[str]:
    rest = len(lines) - LONGEST
    tail = [f"  ... and {rest} more"] if rest > 0 else []
    return [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:LONGEST]), *tail]
