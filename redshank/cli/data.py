"""Scan folders, buckets or tables into a manifest, check it, and split or relabel it.

Exit status of `check`: 0 fine, 3 broken files or images that are in two splits.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from redshank.cli import Options, Settings, print_json
from redshank.dataset import Item, read_manifest, write_manifest
from redshank.errors import InputError, UsageError
from redshank.image_bytes import Location, as_location

if TYPE_CHECKING:
    from redshank.layouts import Listing

FOUND = 3
SHOWN = 20
"""Names that give no image, listed one by one."""
LAYOUTS = (
    *("auto", "folders", "pacs", "office-home", "vlcs", "terra-incognita", "domainnet"),
    *("digits-dg", "imagenet-r", "fmow"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `scan`, `check` and `split`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    scan = actions.add_parser("scan", help="list a folder or table of images in a manifest")
    scan.add_argument(
        "source", type=as_location, help="a folder, its URI (s3://...), or a CSV, JSONL or Parquet"
    )
    scan.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="auto",
        help="how folders are meant; auto says what it recognised",
    )
    scan.add_argument(
        "--fmow-domains", choices=("region", "year", "both"), help="of fmow; default: region"
    )
    _add_split_arguments(scan)
    check = actions.add_parser("check", help="count domains and classes, find broken images")
    check.add_argument("manifest", type=Path)
    check.add_argument("--json", action="store_true", help="print everything as JSON")
    check.add_argument(
        "--out", type=Path, metavar="FILE", help="write a manifest without the broken images"
    )
    check.add_argument("--force", action="store_true", help="replace FILE of --out")
    split = actions.add_parser("split", help="make a manifest with other splits or fewer labels")
    split.add_argument("source", type=Path, metavar="manifest")
    _add_split_arguments(split)


def run(options: Options, settings: Settings) -> int:
    """Do one action."""
    _refuse_existing(options)
    if options.action == "scan":
        return _scan(options)
    if options.action == "split":
        return _split(options)
    return _check(options, side_px=settings.training.image_size)


def _add_split_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new manifest")
    parser.add_argument("--force", action="store_true", help="replace files that are there already")
    parser.add_argument(
        "--labels-per-class", type=int, metavar="N", help="hide all other training labels"
    )
    parser.add_argument("--val-share", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--test-share", type=float, default=0.0, metavar="SHARE")
    parser.add_argument(
        "--unseen", action="append", default=[], metavar="DOMAIN", help="test only, never trained"
    )
    parser.add_argument(
        "--unlabelled", action="append", default=[], metavar="DOMAIN", help="hide all its labels"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--split", type=Path, metavar="FILE", help="splits and labels exactly as this file says"
    )
    parser.add_argument(
        "--save-split", type=Path, metavar="FILE", help="write the splits and labels for others"
    )


def _refuse_existing(options: Options) -> None:
    for path in (options.out, getattr(options, "save_split", None)):
        if path is not None and path.exists() and not options.force:
            raise InputError(
                f"{path} exists already", hint="Give another name, or --force to replace it."
            )


def _scan(options: Options) -> int:
    from redshank.layouts import read_layout

    listing = read_layout(options.source, options.layout, fmow_domains=options.fmow_domains)
    _say_listing(listing)
    _write(options, listing.root, listing.classes, listing.items)
    return 0


def _split(options: Options) -> int:
    manifest = read_manifest(options.source)
    _write(options, manifest.root, manifest.classes, manifest.items)
    return 0


def _write(options: Options, root: Location, classes: Sequence[str], items: Sequence[Item]) -> None:
    """Arrange splits and labels, write the manifest and, where asked, the split file."""
    from redshank.layouts.split_file import write_split

    items = _given_split(items, options) if options.split else _rearrange(items, options)
    write_manifest(options.out, root=_root_from(options.out, root), classes=classes, items=items)
    if options.save_split:
        digest = write_split(options.save_split, items)
        print(f"{options.save_split}: split {digest[:12]}", file=sys.stderr)
    print(f"{options.out}: {len(items)} images, {len(classes)} classes", file=sys.stderr)
    print(options.out)


def _say_listing(listing: Listing) -> None:
    """What was recognised and what was left out, on stderr."""
    lines = [f"layout {listing.layout}", *listing.notes]
    if not listing.classes:
        domains = sorted({item.domain for item in listing.items})
        lines.append(
            f"no image has a label: {', '.join(domains[:3])}{', ...' if domains[3:] else ''} "
            "are read as domains; labelled images lie in ROOT/<domain>/<class>/"
        )
    lines += [f"domain folder {name} holds no image" for name in listing.empty]
    lines += [f"{fault.path}: {fault.reason}; left out" for fault in listing.faults[:SHOWN]]
    if len(listing.faults) > SHOWN:
        lines.append(f"... and {len(listing.faults) - SHOWN} more such names")
    if listing.ignored:
        lines.append(
            f"left out as no images by their suffix: {len(listing.ignored)}, "
            f"like {listing.ignored[0]}"
        )
    print("\n".join(lines), file=sys.stderr)


def _given_split(items: Sequence[Item], options: Options) -> Sequence[Item]:
    from redshank.layouts.split_file import apply_split, read_split

    others = ("labels_per_class", "val_share", "test_share", "unseen", "unlabelled")
    for name in others:
        if getattr(options, name):
            raise UsageError(
                f"--split decides everything: --{name.replace('_', '-')} has no place beside it",
                hint="Change the result in a second step: redshank data split MANIFEST ...",
            )
    split = read_split(options.split)
    print(f"{options.split}: split {split.sha256[:12]}", file=sys.stderr)
    return apply_split(items, split, source=str(options.split))


def _rearrange(items: Sequence[Item], options: Options) -> Sequence[Item]:
    from redshank.layouts import splits

    items = splits.make_unseen(items, options.unseen)
    items = splits.make_unlabelled(items, options.unlabelled)
    items = splits.set_aside(
        items, val_share=options.val_share, test_share=options.test_share, seed=options.seed
    )
    if options.labels_per_class is not None:
        items = splits.keep_labels(items, per_class=options.labels_per_class, seed=options.seed)
    return items


def _root_from(out: Path, root: Location) -> str:
    """Relative to the manifest's folder where root lies inside it, else absolute, or a URI."""
    if isinstance(root, str):
        return root
    folder = out.parent.resolve()
    return (
        Path(os.path.relpath(root, folder)).as_posix() if root.is_relative_to(folder) else str(root)
    )


def _check(options: Options, *, side_px: int) -> int:
    from redshank.layouts.census import count_domains, inspect_images
    from redshank.layouts.census_table import format_census
    from redshank.preprocess import decode_image

    manifest = read_manifest(options.manifest)
    counts = count_domains(manifest)
    broken, leaks = inspect_images(
        manifest,
        lambda data: decode_image(data, side_px, side_px),
        progress=_progress(len(manifest.items)),
    )
    if options.out:
        bad = {image.path for image in broken}
        kept = [item for item in manifest.items if item.path not in bad]
        root = _root_from(options.out, manifest.root)
        write_manifest(options.out, root=root, classes=manifest.classes, items=kept)
        left_out = len(manifest.items) - len(kept)
        print(f"{options.out}: {len(kept)} images, {left_out} left out", file=sys.stderr)
    elif broken:
        print("Training refuses broken images; leave them out with --out NEW.", file=sys.stderr)
    if options.json:
        print_json(
            {
                "classes": manifest.classes,
                "domains": [dataclasses.asdict(one) for one in counts],
                "images": len(manifest.items),
                "broken": [dataclasses.asdict(one) for one in broken],
                "leaks": [dataclasses.asdict(one) for one in leaks],
            }
        )
    else:
        print(format_census(manifest.classes, counts, broken, leaks))
    return FOUND if broken or leaks else 0


def _progress(total: int, every: int = 2000) -> Callable[[int], None]:
    def show(done: int) -> None:
        if sys.stderr.isatty() and (done % every == 0 or done == total):
            end = "\n" if done == total else ""
            print(f"\rchecked {done} of {total} images", end=end, file=sys.stderr, flush=True)

    return show
