"""Steps from a trigger to a challenger: consider, snapshot, training, export.

A step gets the healing as stored and returns it as stored afterwards: in the next state, or in the
same one when it has to wait or was stopped. What a step publishes (a snapshot, a run, a bundle) is
found again by its provenance, so a crash between publishing and the transition costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from redshank.dataset import read_manifest
from redshank.errors import StageError
from redshank.fieldstore import FieldImage
from redshank.files import parse_rfc3339
from redshank.healing import Healing
from redshank.run import MANIFEST_FILE
from redshank.trigger import Trigger

from .artefacts import find_bundle, find_run, run_of_bundle
from .launcher import run_stage
from .policy import cooldown_end, decide, outdated
from .promote import live_since
from .snapshot import MANIFEST, Usable, choose_images, look_at, write_snapshot
from .workplace import Hold, Workplace, export_command, move, training_command

MAX_BROKEN_SHARE = 0.5
"""Share of pictures that show nothing from which the camera, not the model, needs care."""


def consider(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """pending: ask the policy whether the trigger may start."""
    trigger = place.store.trigger(healing.trigger_id)
    if healing.model not in place.registry.names():
        reason = f"model {healing.model!r} has no release yet"
        return place.store.note(healing, lease=hold.lease, reason=reason)
    if outdated(trigger, released_at=live_since(place.registry, healing.model)):
        return move(place, healing, hold, "superseded", "another bundle was released meanwhile")
    decision = decide(
        trigger,
        mode=place.rules.mode,
        cooldown_ends_s=cooldown_end(
            healing.model, place.store.healings(), cooldown_s=place.rules.cooldown_s
        ),
        now_s=place.clock(),
        count_images=lambda: len(_chosen_images(place, trigger)),
        min_images=place.rules.min_images,
    )
    if decision.action == "wait":
        return place.store.note(healing, lease=hold.lease, reason=decision.reason)
    if decision.action == "veto":
        return move(place, healing, hold, "vetoed", decision.reason)
    champion = place.registry.read(healing.model).live
    return move(place, healing, hold, "snapshot", decision.reason, champion=champion)


def take_snapshot(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """snapshot: freeze the champion's data and the field images."""
    folder = (place.snapshots / healing.healing_id).absolute()
    if not (folder / MANIFEST).is_file():
        run_folder, run = run_of_bundle(place.runs, champion_folder(place, healing))
        chosen = _chosen_images(place, place.store.trigger(healing.trigger_id))
        size = run.backbone.image_size
        usable = look_at(chosen, height=size, width=size)
        if complaint := _complaint(usable, place.rules.min_images):
            return move(place, healing, hold, "vetoed", complaint)
        write_snapshot(
            folder,
            champion_run=run.run_id,
            champion=read_manifest(run_folder / MANIFEST_FILE),
            usable=usable,
            deleted=place.field.deleted(),
            labels=place.store.labels(image.sha256 for image in usable.images),
        )
    manifest = str(folder / MANIFEST)
    return move(place, healing, hold, "training", f"snapshot {manifest}", snapshot=manifest)


def train(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """training: start from the champion's weights, go on from a checkpoint if there is one."""
    manifest = Path(healing.snapshot or "")
    parent, champion = run_of_bundle(place.runs, champion_folder(place, healing))
    command = training_command(place, manifest, parent.absolute(), champion.backbone)
    run_id = _run_stage(
        place, healing, command, hold, "training", lambda: find_run(place.runs, manifest)
    )
    if run_id is None:
        return healing
    return move(place, healing, hold, "export", f"trained {run_id}", run=run_id)


def export(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """export: turn the run into a bundle."""
    run_id, champion = healing.run or "", healing.champion or ""
    command = export_command(place, (place.runs / run_id).absolute(), champion, model=healing.model)
    bundles, model = place.registry.bundles, healing.model
    bundle_id = _run_stage(
        place,
        healing,
        command,
        hold,
        "export",
        lambda: find_bundle(bundles, run_id=run_id, model=model),
    )
    if bundle_id is None:
        return healing
    return move(place, healing, hold, "gates", f"exported {bundle_id}", challenger=bundle_id)


def champion_folder(place: Workplace, healing: Healing) -> Path:
    """The bundle that was live when the healing began."""
    return place.registry.bundle_path(healing.champion or "")


def _chosen_images(place: Workplace, trigger: Trigger) -> tuple[FieldImage, ...]:
    """Images since the onset, of the trigger's domains or of all that capture, within the caps."""
    since_s = None if trigger.onset_at is None else parse_rfc3339(trigger.onset_at)
    domains = trigger.domains or place.field.domains()
    images = [i for domain in domains for i in place.field.images(domain, since_s=since_s)]
    return choose_images(
        images,
        max_images=place.rules.max_images,
        client_share=place.rules.client_share,
        first=place.store.labels(image.sha256 for image in images).keys(),
    )


def _complaint(usable: Usable, min_images: int) -> str:
    """Why these pictures are no reason to train; empty when they are fine."""
    if usable.broken_share > MAX_BROKEN_SHARE:
        return (
            f"{usable.broken_share:.0%} of the field pictures show nothing ({usable.unreadable} "
            f"damaged, {usable.constant} of one colour): look at the camera first"
        )
    if len(usable.images) < min_images:
        return f"only {len(usable.images)} field images are usable, {min_images} needed"
    return ""


def _run_stage(
    place: Workplace,
    healing: Healing,
    command: tuple[str, ...],
    hold: Hold,
    name: str,
    find: Callable[[], str | None],
) -> str | None:
    """Id of what a stage publishes, or has published; None when it was stopped and shall go on.

    One that is killed from outside, as for want of memory, counts an attempt and is started again.

    Args:
        place: where the loop works.
        healing: whose stage it is.
        command: runs the stage.
        hold: the loop's lease and its wish to stop.
        name: of the stage, and of its log.
        find: id of what the stage has published, None before.

    Raises:
        StageError: it failed, took too long, or was killed too often.
        ConflictError: the lease is another's by now.
    """
    if (made := find()) is not None:
        return made
    log = place.logs / healing.healing_id / f"{name}.log"
    while True:
        place.say(f"{name} runs, see {log}")
        end = run_stage(
            command,
            log=log,
            timeout_s=place.rules.timeout_s,
            stop=hold.stop,
            is_done=lambda: find() is not None,
        )
        if end.status == "stopped":
            return None
        if end.status == "failed" and end.code > 0:
            last = end.tail.splitlines()[-1] if end.tail else "no output"
            raise StageError(f"{name} ended with status {end.code}: {last}", hint=f"See {log}.")
        if (made := find()) is not None:  # also of one that died of its last breath
            return made
        if end.status == "timeout":
            raise StageError(f"{name} took longer than {place.rules.timeout_s:.0f} s")
        if end.status == "done":
            raise StageError(f"{name} ended well and published nothing", hint=f"See {log}.")
        attempt = place.store.count_attempt(healing, lease=hold.lease).attempt
        killed = f"{name} was killed by signal {-end.code}"
        place.say(f"{healing.healing_id}: {killed}, attempt {attempt}")
        if attempt > place.rules.max_attempts:
            raise StageError(f"{killed}, after {attempt - 1} attempts", hint=f"See {log}.")
