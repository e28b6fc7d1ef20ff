"""The retraining loop: from due triggers to healed, refused or proposed models.

Read from top to bottom. One loop works at a time, whoever holds the lease; all it knows is in the
control database and in published folders, so that any loop can go on where another was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from redshank.errors import ConflictError, DatabaseError, InputError, RedshankError
from redshank.files import parse_rfc3339, rfc3339
from redshank.healing import ENDS, Healing, State
from redshank.store.control_lease import Lease
from redshank.trigger import make_trigger

from .heartbeat import heartbeat
from .policy import check_rules, superseded_by
from .release_steps import finish_canary, judge, notice_rollbacks, release
from .schedule import last_slot_s
from .steps import consider, export, take_snapshot, train
from .workplace import Hold, Workplace, move

WORKING: tuple[State, ...] = ("snapshot", "training", "export", "gates", "shadow", "canary")
"""States in which a healing is under way."""


def run_loop(place: Workplace, *, holder: str, once: bool, stop: Callable[[], bool]) -> bool:
    """Work until `stop`, or with `once` until nothing can go on now.

    Args:
        place: what to work with.
        holder: unique name of this process, for the lease.
        once: one pass over all triggers.
        stop: asked all the time; True ends the loop in a state that another one can resume.

    Returns:
        False when `once` was asked for and another loop holds the lease.

    Raises:
        ConfigError: the schedule is no cron expression, or a number is impossible.
    """
    check_rules(place.rules)
    if place.rules.schedule:  # a wrong one shall not wait for its first slot to be noticed
        last_slot_s(place.rules.schedule, after_s=place.clock(), until_s=place.clock())
    told = False
    while not stop():
        lease = place.store.acquire(holder, ttl_s=place.rules.lease_s)
        if lease is not None:
            _work(place, lease, once=once, stop=stop)
        elif not once and not told:
            place.say("another loop holds the lease; waiting for it")
        told = lease is None
        if once:
            return lease is not None
        _sleep(place.rules.poll_s, stop)
    return True


def run_trigger(
    place: Workplace, trigger_id: str, *, holder: str, stop: Callable[[], bool]
) -> Healing | None:
    """Work on one trigger only, as one idempotent step of somebody else's scheduler.

    Returns:
        The healing, ended, proposed or waiting; None when another loop holds the lease.

    Raises:
        InputError: there is no such trigger.
        ConfigError: a number of the settings is impossible.
    """
    check_rules(place.rules)
    place.store.trigger(trigger_id)
    lease = place.store.acquire(holder, ttl_s=place.rules.lease_s)
    if lease is None:
        return None
    with heartbeat(place.store, lease, ttl_s=place.rules.lease_s) as lost:
        hold = Hold(lease, lambda: stop() or lost.is_set())
        if lease.took_over:
            _count_crash(place, hold)
        healing = heal(place, place.store.healing(trigger_id), hold)
    place.store.release(lease)
    return healing


def _work(place: Workplace, lease: Lease, *, once: bool, stop: Callable[[], bool]) -> None:
    """Hold the lease; a loop that lost it, or its database, starts over."""
    try:
        _hold_lease(place, lease, once=once, stop=stop)
    except (ConflictError, InputError) as error:
        if once:
            raise
        place.say(f"starts over: {error.message}")


def _hold_lease(place: Workplace, lease: Lease, *, once: bool, stop: Callable[[], bool]) -> None:
    with heartbeat(place.store, lease, ttl_s=place.rules.lease_s) as lost:
        hold = Hold(lease, lambda: stop() or lost.is_set())
        if lease.took_over:
            _count_crash(place, hold)
        while not hold.stop():
            pass_over(place, hold)
            if once:
                break
            _sleep(place.rules.poll_s, hold.stop)
    # not after an unexpected error: the next holder shall see that this one crashed
    place.store.release(lease)


def pass_over(place: Workplace, hold: Hold) -> None:
    """One look at everything: schedules, rollbacks, the healing under way, waiting triggers."""
    add_due_schedule(place, hold)
    notice_rollbacks(place, hold)
    supersede_covered(place, hold)
    for healing in (*place.store.healings(*WORKING), *place.store.healings("pending")):
        if hold.stop():
            return
        heal(place, healing, hold)


def heal(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    """Take one healing as far as it goes now."""
    if healing.state == "pending" and place.store.healings(*WORKING):
        return healing  # one at a time; a canary may take hours
    while healing.state not in ENDS and not hold.stop():
        before = healing.state
        try:
            healing = _advance(place, healing, hold)
        except ConflictError as error:
            place.store.check(hold.lease)  # a lost lease ends this pass
            place.say(f"{healing.healing_id}: {error.message}")
            return place.store.healing(healing.healing_id)
        except DatabaseError:
            raise  # so does a database that went away; the healing goes on when it is back
        except RedshankError as error:
            place.store.check(hold.lease)
            return move(place, healing, hold, "failed", error.message)
        except OSError as error:  # a full disk, above all: the loop lives, other models too
            place.store.check(hold.lease)
            return _retry_later(place, healing, hold, error)
        if healing.state == before or healing.state == "proposed":
            break
    return healing


def _advance(place: Workplace, healing: Healing, hold: Hold) -> Healing:
    match healing.state:
        case "pending":
            return consider(place, healing, hold)
        case "snapshot":
            return take_snapshot(place, healing, hold)
        case "training":
            return train(place, healing, hold)
        case "export":
            return export(place, healing, hold)
        case "gates":
            return judge(place, healing, hold)
        case "shadow":
            return release(place, healing, hold)
        case "canary":
            return finish_canary(place, healing, hold)
        case _:
            return healing


def add_due_schedule(place: Workplace, hold: Hold) -> None:
    """Write the trigger of the newest slot since the last look; the first look only begins."""
    expression, now_s = place.rules.schedule, place.clock()
    if not expression:
        return
    name = f"schedule {place.model} {expression}"
    since = place.store.mark(name)
    if since is not None and parse_rfc3339(since) <= now_s:  # else the clock was set back
        slot_s = last_slot_s(expression, after_s=parse_rfc3339(since), until_s=now_s)
        if slot_s is None:
            return
        trigger = make_trigger(
            kind="schedule",
            model=place.model,
            domains=(),
            onset_at_s=None,
            created_at_s=slot_s,
            actor="schedule",
            evidence={"reason": f"due at {rfc3339(slot_s)} by {expression}"},
        )
        if place.store.add_trigger(trigger):
            place.say(f"scheduled trigger {trigger.trigger_id}")
        now_s = slot_s
    place.store.set_mark(name, rfc3339(now_s), lease=hold.lease)


def supersede_covered(place: Workplace, hold: Hold) -> None:
    """Of waiting triggers about the same domains only the newest stays."""
    waiting = place.store.healings("pending")
    triggers = {healing.trigger_id: place.store.trigger(healing.trigger_id) for healing in waiting}
    for healing in waiting:
        newer = superseded_by(triggers[healing.trigger_id], tuple(triggers.values()))
        if newer is not None:
            move(place, healing, hold, "superseded", f"trigger {newer.trigger_id} covers it")


def _count_crash(place: Workplace, hold: Hold) -> None:
    """The loop before never gave its lease back: it died in the middle of what is under way."""
    for healing in place.store.healings(*WORKING):
        counted = place.store.count_attempt(healing, lease=hold.lease)
        place.say(
            f"{healing.healing_id}: goes on in state {healing.state}, attempt {counted.attempt}"
        )
        if counted.attempt > place.rules.max_attempts:
            reason = f"its loop died {place.rules.max_attempts} times in the middle of it"
            move(place, counted, hold, "failed", reason)


def _retry_later(place: Workplace, healing: Healing, hold: Hold, error: OSError) -> Healing:
    """A file could not be read or written: try again after `lease_s`, not for ever."""
    what = f"{error.filename or 'a file'}: {error.strerror or error}"
    if healing.attempt >= place.rules.max_attempts:
        return move(place, healing, hold, "failed", what)
    place.say(f"{healing.healing_id}: {what}, attempt {healing.attempt}")
    counted = place.store.count_attempt(healing, lease=hold.lease)
    noted = place.store.note(counted, lease=hold.lease, reason=f"tries again after {what}")
    _sleep(place.rules.lease_s, hold.stop)
    return noted


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s and not stop():
        time.sleep(min(0.1, seconds))
