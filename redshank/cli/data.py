"""Scan folders or tables into a manifest, check it, and split or relabel it.

Exit status of `check`: 0 fine, 3 broken files or images that are in two splits.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from redshank.cli import Options, Settings, print_json
from redshank.dataset import Item, read_manifest, write_manifest
from redshank.image_bytes import Location

FOUND = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `scan`, `check` and `split`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    scan = actions.add_parser("scan", help="list a folder or table of images in a manifest")
    scan.add_argument("source", type=Path, help="ROOT/<domain>/<class>/<image>, CSV or JSONL")
    _add_split_arguments(scan)
    check = actions.add_parser("check", help="count domains and classes, find broken images")
    check.add_argument("manifest", type=Path)
    check.add_argument("--json", action="store_true", help="print everything as JSON")
    check.add_argument(
        "--out", type=Path, metavar="FILE", help="write a manifest without the broken images"
    )
    split = actions.add_parser("split", help="make a manifest with other splits or fewer labels")
    split.add_argument("source", type=Path, metavar="manifest")
    _add_split_arguments(split)


def run(options: Options, settings: Settings) -> int:
    """Do one action."""
    if options.action == "scan":
        return _scan(options)
    if options.action == "split":
        return _split(options)
    return _check(options, side_px=settings.training.image_size)


def _add_split_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new manifest")
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


def _scan(options: Options) -> int:
    from redshank.layouts import read_layout

    listing = read_layout(options.source)
    items = _rearrange(listing.items, options)
    root = _root_from(options.out, listing.root)
    write_manifest(options.out, root=root, classes=listing.classes, items=items)
    for name in listing.empty:
        print(f"domain folder {name} holds no image", file=sys.stderr)
    if listing.ignored:
        print(
            f"{len(listing.ignored)} files are no images by their suffix and were left out, "
            f"like {listing.ignored[0]}",
            file=sys.stderr,
        )
    _say_written(options.out)
    return 0


def _split(options: Options) -> int:
    manifest = read_manifest(options.source)
    items = _rearrange(manifest.items, options)
    root = _root_from(options.out, manifest.root)
    write_manifest(options.out, root=root, classes=manifest.classes, items=items)
    _say_written(options.out)
    return 0


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


def _say_written(out: Path) -> None:
    manifest = read_manifest(out)
    print(f"{out}: {len(manifest.items)} images, {len(manifest.classes)} classes", file=sys.stderr)
    print(out)


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
