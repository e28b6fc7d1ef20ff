"""Readers of image layouts that users have on disk or in a bucket: nothing is converted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from redshank.errors import InputError, UsageError
from redshank.image_bytes import Location
from redshank.layouts.benchmark_folders import BENCHMARKS, read_benchmark, recognise_benchmark
from redshank.layouts.fmow import Domains, read_fmow, recognise_fmow
from redshank.layouts.folders import scan_folder, scan_tree
from redshank.layouts.imagenet_r import read_imagenet_r, recognise_imagenet_r
from redshank.layouts.listing import Listing
from redshank.layouts.tables import TABLE_SUFFIXES, read_table
from redshank.layouts.tree import Tree, list_tree

__all__ = ["AUTO", "FMOW", "LAYOUTS", "Listing", "read_layout", "read_table", "scan_folder"]

AUTO = "auto"
FMOW = "fmow"
LAYOUTS: dict[str, Callable[[Tree], Listing]] = {
    "folders": scan_tree,
    **{one.name: partial(read_benchmark, one) for one in BENCHMARKS},
    "imagenet-r": read_imagenet_r,
    FMOW: read_fmow,
}
"""Readers of folders by the name that `--layout` takes."""


def read_layout(
    source: Location, layout: str = AUTO, *, fmow_domains: Domains | None = None
) -> Listing:
    """Read a folder of images, local or behind a URI, or a table that lists images.

    Args:
        source: folder, URI of one, or a CSV, JSON-lines or Parquet table.
        layout: one of `LAYOUTS`, or `auto`: a public benchmark where all its marks are there and
            no image lies elsewhere, else the general layout.
        fmow_domains: what a domain is, for `fmow` only; its own default is `region`.

    Raises:
        InputError: nothing is there, or it does not have that layout.
        UsageError: `fmow_domains` for another layout.
    """
    if isinstance(source, Path) and not source.is_dir():
        if layout != AUTO:
            raise InputError(f"{source} is no folder, which layout {layout} needs")
        return _table(source)
    tree = list_tree(source)
    name = recognise(tree) if layout == AUTO else layout
    if fmow_domains is None:
        return LAYOUTS[name](tree)
    if name != FMOW:
        raise UsageError(f"the layout is {name}: only {FMOW} lets you choose what a domain is")
    return read_fmow(tree, fmow_domains)


def recognise(tree: Tree) -> str:
    """Name of the layout of a tree: a public one only where nothing speaks against it."""
    if recognise_fmow(tree):
        return FMOW
    if recognise_imagenet_r(tree):
        return "imagenet-r"
    benchmark = recognise_benchmark(tree)
    return benchmark.name if benchmark else "folders"


def _table(path: Path) -> Listing:
    if not path.exists():
        raise InputError(
            f"{path} does not exist", hint="Give a folder of images, or a CSV or JSONL table."
        )
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(
            f"{path} is neither a folder nor a table ({', '.join(TABLE_SUFFIXES)})",
            hint="A table has the columns path, domain and, if known, label and split.",
        )
    return read_table(path)
