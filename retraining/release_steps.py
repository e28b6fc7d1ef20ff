"""Steps from a challenger to traffic: gates, shadow, canary. Repeatable like those in `steps`."""

from __future__ import annotations

from pathlib import Path

from redshank.dataset import read_manifest
from redshank.files import parse_rfc3339
from redshank.healing import Gate, Healing

from .compare import Thresholds, compare_bundles
from .gates import overall
from .promote import count_canary, end_canary, publish_challenger, rolled_back, start_canary
from .snapshot import field_items
from .steps import champion_folder
from .workplace import ACTOR, Hold, Workplace, move

CANARY_PATIENCE = 10.0
"""A canary with too few answers waits so many times `retraining.canary_s`."""


def judge(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """gates: compare with the champion; refuse, release, or ask a person."""
    snapshot = read_manifest(Path(healing.snapshot or ""))
    rules = place.rules.gates
    gates = compare_bundles(
        champion_folder(place, healing),
        place.registry.bundle_path(healing.challenger or ""),
        snapshot,
        labels=place.store.labels(item.sha256 for item in field_items(snapshot)),
        limits=Thresholds(
            accuracy_margin=rules.accuracy_margin,
            entropy_drop=rules.entropy_drop,
            min_agreement=rules.min_agreement,
            nuclear_norm_drop=rules.nuclear_norm_drop,
            alpha=rules.alpha,
        ),
        stop=hold.stop,
        precision=place.precision,
    )
    verdict = overall(gates)
    if verdict == "fail":
        reason = f"refused by {_named(gates, 'fail')}"
        return move(place, healing, hold, "rejected", reason, gates=gates)
    if verdict == "cannot_tell":
        reason = f"a person decides: {_named(gates, 'cannot_tell')} cannot tell"
        return move(place, healing, hold, "proposed", reason, gates=gates)
    if withdrawn := place.store.withdrawn(healing.trigger_id):
        reason = f"passed every gate, but a person decides: {withdrawn}"
        return move(place, healing, hold, "proposed", reason, gates=gates)
    if place.rules.mode != "auto":
        reason = f"passed every gate; retraining.mode is {place.rules.mode}, a person decides"
        return move(place, healing, hold, "proposed", reason, gates=gates)
    return move(place, healing, hold, "shadow", "passed every gate", gates=gates)


def release(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """shadow: put the challenger into traffic, unless the champion changed since."""
    current = place.registry.read(healing.model)
    challenger = healing.challenger or ""
    if current.live == challenger:  # published just before a crash
        return _went_live(place, healing, hold)
    if challenger in rolled_back(place.registry.history(healing.model)):
        reason = "it was live already, and the release went back to the bundle before"
        return move(place, healing, hold, "rejected", reason)
    if current.live != healing.champion:
        return _superseded(place, healing, hold, current.live)
    place.store.check(hold.lease)
    if place.rules.canary_s > 0:
        domains = place.store.trigger(healing.trigger_id).domains
        start_canary(place.registry, current, challenger, domains, actor=ACTOR, at_s=place.clock())
        reason = f"answers {', '.join(domains) or 'all domains'} for {place.rules.canary_s:.0f} s"
        return move(place, healing, hold, "canary", reason)
    publish_challenger(
        place.registry,
        current,
        challenger,
        actor=ACTOR,
        reason=f"healing {healing.healing_id}",
        at_s=place.clock(),
    )
    return _went_live(place, healing, hold)


def finish_canary(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """canary: wait for its end, then publish, or roll back when too many answers failed.

    A canary that hardly anybody asked proves nothing: it waits for answers, then is rolled back.
    """
    current, challenger = place.registry.read(healing.model), healing.challenger or ""
    began_s = parse_rfc3339(healing.updated_at)
    if current.live == challenger:
        return _went_live(place, healing, hold)
    if current.live != healing.champion:
        return _superseded(place, healing, hold, current.live)
    if current.canary is None or current.canary.bundle != challenger:
        return move(place, healing, hold, "rolled_back", "somebody took the canary off the release")
    if place.clock() < began_s + place.rules.canary_s:
        return healing
    place.store.check(hold.lease)
    count = count_canary(place.spool, challenger, since_s=began_s)
    seen = f"{count.answered} answers and {count.failed} failures in the canary"
    too_few = count.answered < place.rules.canary_answers
    if too_few and not count.is_bad:
        seen = f"{seen}, too few to judge: {place.rules.canary_answers} are needed"
        if place.clock() < began_s + CANARY_PATIENCE * place.rules.canary_s:
            return place.store.note(healing, lease=hold.lease, reason=seen)
    if too_few or count.is_bad:
        end_canary(place.registry, healing.model, challenger, actor=ACTOR, at_s=place.clock())
        return move(place, healing, hold, "rolled_back", seen)
    publish_challenger(
        place.registry, current, challenger, actor=ACTOR, reason=seen, at_s=place.clock()
    )
    return _went_live(place, healing, hold, seen)


def notice_rollbacks(place: Workplace, hold: Hold) -> None:
    """A person's `redshank models rollback` reaches the healing that had published the bundle.

    The history is read only when the release changed since the last look.
    """
    published = place.store.healings("live")
    for model in {healing.model for healing in published} & set(place.registry.names()):
        live, mark = place.registry.read(model), f"rollbacks {model}"
        if place.store.mark(mark) == str(live.revision):
            continue
        gone = rolled_back(place.registry.history(model)) - {live.live}
        for healing in published:
            if healing.model == model and healing.challenger in gone:
                place.store.mark_rolled_back(
                    healing.challenger,
                    actor=ACTOR,
                    reason="the release went back to the bundle before",
                )
        place.store.set_mark(mark, str(live.revision), lease=hold.lease)


def _superseded(place: Workplace, healing: Healing, hold: Hold, live: str) -> Healing:
    reason = f"{live} went live meanwhile, the gates compared with {healing.champion}"
    return move(place, healing, hold, "superseded", reason)


def _went_live(place: Workplace, healing: Healing, hold: Hold, seen: str = "") -> Healing:
    revision = place.registry.read(healing.model).revision
    reason = f"live since revision {revision}" + (f" ({seen})" if seen else "")
    return move(place, healing, hold, "live", reason)


def _named(gates: tuple[Gate, ...], verdict: str) -> str:
    chosen = [gate for gate in gates if gate.verdict == verdict]
    return ", ".join(f"{g.name}[{g.domain}]" if g.domain else g.name for g in chosen)
