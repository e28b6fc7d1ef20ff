"""FMoW-WILDS v1.1: satellite images by region of the world and year.

    rgb_metadata.csv           a row an image: split, category, timestamp, country_code
    country_code_mapping.csv   alpha-3 code to region
    images/rgb_img_<i>.png     i is the row in the whole metadata, sequestered rows counted

The splits are those of WILDS with `time_after_2016`: train before 2013, val from 2013 on, test from
2016 on. Rows of `seq`, training rows of later years, and the in-distribution `val` and `test` rows
(before 2013) belong to none of them and are left out. Codes without a region are `Other`; the
headline figure is the accuracy of the worst region without it. Koh et al., "WILDS", ICML 2021.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from redshank.dataset import Item, Split
from redshank.errors import InputError
from redshank.files import rfc3339
from redshank.layouts.listing import Listing, make_listing
from redshank.layouts.tree import Tree

METADATA = "rgb_metadata.csv"
REGIONS = "country_code_mapping.csv"
IMAGES = "images"
OTHER = "Other"
VAL_FROM = datetime(2013, 1, 1, tzinfo=UTC)
TEST_FROM = datetime(2016, 1, 1, tzinfo=UTC)

Domains = Literal["region", "year", "both"]


def recognise_fmow(tree: Tree) -> bool:
    """Whether both tables are there."""
    files = tree.files(_base(tree))
    return METADATA in files and REGIONS in files


def read_fmow(tree: Tree, domains: Domains = "region") -> Listing:
    """List the images of the official splits.

    Args:
        tree: the folder of version 1.1.
        domains: what a domain is: `region`, `year`, or `both` (like `Asia 2009`).

    Raises:
        InputError: a table or a column is missing, a time cannot be read, or there is no image.
    """
    tree = tree.within(_base(tree))
    if METADATA not in tree.files() or REGIONS not in tree.files():
        raise InputError(
            f"{tree.root} is not fmow: expected {METADATA}, {REGIONS} and {IMAGES}/",
            hint="Give the folder of FMoW-WILDS version 1.1, like data/fmow_v1.1.",
        )
    regions = _regions(tree)
    there = set(tree.files(IMAGES))
    items, missing = [], []
    left_out: Counter[str] = Counter()
    for number, row in enumerate(_rows(tree, METADATA, "split category timestamp country_code")):
        moment = _moment(row["timestamp"], number)
        split = _split(row["split"], moment)
        if split is None:
            left_out[row["split"]] += 1
            continue
        name = f"rgb_img_{number}.png"
        if name not in there:
            missing.append(name)
            continue
        domain = _domain(domains, regions.get(row["country_code"], OTHER), moment.year)
        time = rfc3339(moment.timestamp())
        label = sys.intern(row["category"])
        items.append(Item(f"{IMAGES}/{name}", domain, label, split, captured_at=time))
    notes = [f"{n} rows of `{name}` are in no official split" for name, n in left_out.items()]
    if missing:
        notes.append(f"{len(missing)} images of the metadata are not there, like {missing[0]}")
    return make_listing(tree.root, items, faults=tree.faults, layout="fmow", notes=notes)


def _base(tree: Tree) -> str:
    """The root, or the only folder that holds the metadata."""
    inner = [name for name in tree.folders() if METADATA in tree.files(name)]
    return inner[0] if len(inner) == 1 and METADATA not in tree.files() else ""


def _regions(tree: Tree) -> dict[str, str]:
    rows = _rows(tree, REGIONS, "alpha-3 region")
    return {row["alpha-3"]: sys.intern(row["region"] or OTHER) for row in rows}


def _rows(tree: Tree, path: str, columns: str) -> Iterator[Mapping[str, str]]:
    rows = csv.DictReader(io.StringIO(tree.read_text(path), newline=""))
    missing = [name for name in columns.split() if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r}, found {', '.join(rows.fieldnames or ())}",
            hint="Give the table of FMoW-WILDS version 1.1.",
        )
    yield from rows


def _moment(text: str, row: int) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{METADATA}, row {row}: {text!r} is no time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _split(name: str, moment: datetime) -> Split | None:
    if name == "train" and moment < VAL_FROM:
        return "train"
    if name == "val" and VAL_FROM <= moment < TEST_FROM:
        return "val"
    if name == "test" and moment >= TEST_FROM:
        return "test"
    return None


def _domain(domains: Domains, region: str, year: int) -> str:
    names = {"region": region, "year": str(year), "both": f"{region} {year}"}
    return sys.intern(names[domains])
