"""Releases: which bundle answers traffic.

publish makes a bundle live, after every digest was checked; rollback goes back to the one before.
A shadow sees traffic and answers nothing; a canary answers a part of it. Running servers follow
within a second. Every change is a revision that stays in the history.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from redshank.cli import print_json, user_name
from redshank.errors import UsageError
from redshank.records import as_dict
from redshank.registry import Canary, Registry, Release
from redshank.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `redshank models`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    reason = argparse.ArgumentParser(add_help=False)
    reason.add_argument("--reason", default="", help="kept in the history")
    reason.add_argument("--actor", default="", help="who does it (default: the user's name)")

    publish = actions.add_parser("publish", parents=[reason], help="make a bundle live")
    publish.add_argument("bundle", help="bundle id, or its folder among the bundles")
    rollback = actions.add_parser("rollback", parents=[reason], help="back to the bundle before")
    rollback.add_argument("model")
    shadow = actions.add_parser("shadow", parents=[reason], help="start or end a shadow")
    shadow.add_argument("model")
    shadow.add_argument("bundle", nargs="?", help="bundle id; none ends the shadow")
    canary = actions.add_parser("canary", parents=[reason], help="start or end a canary")
    canary.add_argument("model")
    canary.add_argument("bundle", nargs="?", help="bundle id; none ends the canary")
    canary.add_argument("--domains", default="", help="comma-separated; default: all")
    canary.add_argument("--share", type=float, default=1.0, help="share of clients in (0, 1]")
    listing = actions.add_parser("list", help="every released model")
    listing.add_argument("--json", action="store_true")
    show = actions.add_parser("show", help="one model: release, bundle and history")
    show.add_argument("model")
    show.add_argument("--json", action="store_true")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Do one action on the registry."""
    registry = Registry(settings.home.path("models"), settings.home.path("bundles"))
    if options.action == "list":
        return _list(registry, as_json=options.json)
    if options.action == "show":
        return _show(registry, options.model, settings, as_json=options.json)
    if options.action == "rollback":
        release = _roll_back(registry, options, settings)
    else:
        release = _change(registry, options)
    print(f"{release.model}: revision {release.revision}, live {release.live}")
    return 0


def _roll_back(registry: Registry, options: argparse.Namespace, settings: Settings) -> Release:
    from redshank.store.control import open_control
    from redshank.store.decisions import roll_back

    store = open_control(settings.home.control_database)
    try:
        actor = options.actor or user_name()
        return roll_back(
            store, registry, options.model, actor=actor, reason=options.reason, at_s=time.time()
        )
    finally:
        store.close()


def _change(registry: Registry, options: argparse.Namespace) -> Release:
    stamp = {"actor": options.actor or user_name(), "reason": options.reason}
    now_s = time.time()
    if options.action == "publish":
        bundle_id = _bundle_id(registry, options.bundle)
        return registry.publish(bundle_id, **stamp, at_s=now_s)
    bundle_id = _bundle_id(registry, options.bundle) if options.bundle else ""
    if options.action == "shadow":
        return registry.set_shadow(options.model, bundle_id or None, **stamp, at_s=now_s)
    domains = tuple(name.strip() for name in options.domains.split(",") if name.strip())
    canary = Canary(bundle_id, domains, options.share) if bundle_id else None
    return registry.set_canary(options.model, canary, **stamp, at_s=now_s)


def _bundle_id(registry: Registry, text: str) -> str:
    """The id in `text`, which may be the path of a folder among the bundles."""
    path = Path(text)
    if path.name != text and path.resolve().parent != registry.bundles.resolve():
        raise UsageError(
            f"{text} does not lie in {registry.bundles}",
            hint="Copy the bundle's folder there, or set home.root.",
        )
    return path.name


def _list(registry: Registry, *, as_json: bool) -> int:
    releases = [registry.read(name) for name in registry.names()]
    if as_json:
        print_json([as_dict(release) for release in releases])
        return 0
    for release in releases:
        extra = [f"shadow {release.shadow}"] if release.shadow else []
        extra += [f"canary {release.canary.bundle}"] if release.canary else []
        print("  ".join([f"{release.model}  r{release.revision}  live {release.live}", *extra]))
    return 0


def _show(registry: Registry, model: str, settings: Settings, *, as_json: bool) -> int:
    from redshank.bundle import read_bundle
    from redshank.deletions import deleted_images_of
    from redshank.fieldstore import FieldStore

    release, history = registry.read(model), registry.history(model)
    bundle = read_bundle(registry.bundle_path(release.live), verify=False)
    deleted = deleted_images_of(
        settings.home.path("runs") / bundle.provenance.run_id,
        FieldStore(settings.home.path("field")).deleted(),
    )
    if as_json:
        values = {
            "release": as_dict(release),
            "bundle": as_dict(bundle),
            "history": [as_dict(revision) for revision in history],
            "trained_on_deleted_images": list(deleted),
        }
        print_json(values)
        return 0
    print(f"{model}: revision {release.revision}, live {release.live}")
    print(f"  classes      {', '.join(bundle.classes)}")
    print(f"  domains      {', '.join(bundle.source_domains)} (source)")
    print(f"  temperature  {bundle.temperature:.3f}, fitted on {bundle.temperature_fitted_on}")
    print(f"  from         run {bundle.provenance.run_id}")
    if deleted:
        print(f"  privacy      trained on {len(deleted)} images that were deleted since")
    for row in reversed(history):
        print(f"  r{row.revision}  {row.updated_at}  {row.live}  {row.actor}  {row.reason}")
    return 0
