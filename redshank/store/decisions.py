"""What people decide about healings and releases: one copy for the command and the console.

Each decision names its actor, leaves an audit row, and refuses a healing or release that somebody
else moved on meanwhile.
"""

from __future__ import annotations

from typing import Literal

from redshank.errors import ConflictError
from redshank.healing import Healing, State
from redshank.registry import Registry, Release
from redshank.store.control import ControlStore

Decision = Literal["approve", "reject"]
REJECTABLE: tuple[State, ...] = ("pending", "proposed", "shadow")
"""States that a person can end."""


def choices(healing: Healing) -> tuple[Decision, ...]:
    """What a person may decide about a healing in its present state."""
    found: list[Decision] = ["approve"] if healing.state == "proposed" else []
    return (*found, "reject") if healing.state in REJECTABLE else tuple(found)


def approve(store: ControlStore, any_id: str, *, actor: str, reason: str = "") -> Healing:
    """Let a proposed healing go on.

    Raises:
        InputError: there is no such healing.
        ConflictError: it is no proposal, or somebody moved it meanwhile.
    """
    healing = store.healing(any_id)
    if "approve" not in choices(healing):
        raise ConflictError(
            f"healing {healing.healing_id} is {healing.state!r}, not 'proposed'",
            hint="Only a proposal can be approved. See: redshank retrain list",
        )
    return _decide(store, healing, "shadow", "approved", actor, reason)


def reject(store: ControlStore, any_id: str, *, actor: str, reason: str = "") -> Healing:
    """End a healing that waits.

    Raises:
        InputError: there is no such healing.
        ConflictError: it does not wait, or somebody moved it meanwhile.
    """
    healing = store.healing(any_id)
    if "reject" not in choices(healing):
        raise ConflictError(
            f"healing {healing.healing_id} is {healing.state!r}",
            hint="A live one goes back with: redshank models rollback MODEL",
        )
    new: State = "vetoed" if healing.state == "pending" else "rejected"
    return _decide(store, healing, new, "rejected", actor, reason)


def roll_back(  # the audit row and the release name the same actor, reason and time
    store: ControlStore, registry: Registry, model: str, *, actor: str, reason: str, at_s: float
) -> Release:
    """Point a model back to its previous bundle; the healing that published it learns of it.

    Raises:
        InputError: the model was never released.
        ConflictError: there is no previous bundle.
    """
    gone = registry.read(model).live
    release = registry.rollback(model, actor=actor, reason=reason, at_s=at_s)
    why = f"rolled back by {actor}" + (f": {reason}" if reason else "")
    if store.mark_rolled_back(gone, actor=actor, reason=why) is None:
        details = {"from": gone, "to": release.live, "revision": release.revision}
        store.record(
            actor=actor, action="rolled_back", subject=model, details=details | {"reason": reason}
        )
    return release


def _decide(
    store: ControlStore, healing: Healing, new: State, word: str, actor: str, reason: str
) -> Healing:
    why = f"{word} by {actor}" + (f": {reason}" if reason else "")
    return store.transition(healing, new, reason=why, actor=actor, lease=None)
