"""Decisions of a person, by the same functions as the command's."""

from __future__ import annotations

from collections.abc import Mapping

from monitoring.operators import request_acceptance, request_retirement
from redshank.store import decisions

from .links import domain_path, path
from .sources import Sources

LONGEST_REASON = 500


def decide(
    sources: Sources, actor: str, parts: tuple[str, ...], form: Mapping[str, str]
) -> str | None:
    """Do what an address says; gives the page to show next, None for an unknown address.

    Args:
        sources: where decisions are written.
        actor: name of the token's holder, for the audit trail.
        parts: of the address.
        form: its field `reason` is kept.

    Raises:
        ConflictError: it was decided already, or cannot be.
        InputError: there is no such healing, model or domain.
    """
    reason = form.get("reason", "").strip()[:LONGEST_REASON]
    match parts:
        case ("healings", healing_id, "approve"):
            decisions.approve(sources.control, healing_id, actor=actor, reason=reason)
            return path("healings", healing_id)
        case ("healings", healing_id, "reject"):
            decisions.reject(sources.control, healing_id, actor=actor, reason=reason)
            return path("healings", healing_id)
        case ("releases", model, "rollback"):
            decisions.roll_back(
                sources.control,
                sources.registry,
                model,
                actor=actor,
                reason=reason,
                at_s=sources.clock(),
            )
            return path("releases")
        case ("domains", model, domain, "accept" | "retire" as word):
            request = request_acceptance if word == "accept" else request_retirement
            request(sources.settings, domain=domain, model=model, actor=actor, reason=reason)
            return domain_path(model, domain) + f"?noted={word}"
    return None
