"""Mirror the field images of this home to a folder or bucket, or follow one.

`redshank field push` makes `[mirror] push_to` hold what the field store holds; a server with that
setting runs it by itself every `[mirror] every_s`. `redshank field pull` fetches from `[mirror]
pull_from` what the field store lacks, each picture checked by its digest; a retraining loop with
that setting does so before it looks for images. Images that somebody deleted on either side go on
both. Both may be interrupted and run again. Exit status 3: some images failed, the next pass tries
again.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from redshank.cli import print_json
from redshank.errors import UsageError
from redshank.records import as_dict
from redshank.settings import Settings

if TYPE_CHECKING:
    from redshank.field_mirror import Pass

FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `push` and `pull`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, what in (
        ("push", "have a folder or bucket follow the field store"),
        ("pull", "have the field store follow a folder or bucket"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("url", nargs="?", help="default: that of [mirror]")
        action.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """One pass."""
    from redshank.field_follower import summary
    from redshank.field_mirror import pull, push
    from redshank.image_bytes import as_location
    from redshank.object_folder import ObjectFolder

    is_push = options.action == "push"
    url = options.url or (settings.mirror.push_to if is_push else settings.mirror.pull_from)
    if not url:
        key = "push_to" if is_push else "pull_from"
        raise UsageError(
            f"redshank field {options.action} needs a URL",
            hint=f"Give one, or set it: --set mirror.{key}=s3://bucket/field",
        )
    act = push if is_push else pull
    done: Pass = act(settings.home.path("field"), ObjectFolder(as_location(url)))
    if options.json:
        print_json(as_dict(done))
    else:
        print(f"redshank: {url}: {summary(done)}", file=sys.stderr)
    return FAILED if done.failed else 0
