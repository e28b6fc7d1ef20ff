"""Pages of healings and releases: gate tables, history, and what a person may decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redshank.errors import InputError
from redshank.healing import AuditRow, Healing
from redshank.store.decisions import Decision, choices
from redshank.trigger import Trigger

from .links import path
from .sources import Sources

SHOWN = 50
"""Healings on the list, newest first."""


@dataclass(frozen=True)
class HealingPanel:
    """A healing with its trigger and what may be decided about it."""

    healing: Healing
    trigger: Trigger
    path: str
    choices: tuple[Decision, ...]

    @property
    def domains(self) -> str:
        """Domains of the trigger, for people."""
        return ", ".join(self.trigger.domains) or "all that capture"


def healings_of(sources: Sources, model: str, domain: str) -> list[HealingPanel]:
    """Healings that are about a domain, newest first."""
    return [
        panel
        for panel in panels(sources)
        if panel.healing.model == model and domain in (panel.trigger.domains or (domain,))
    ][:SHOWN]


def panels(sources: Sources) -> list[HealingPanel]:
    """Every healing, newest first."""
    triggers = {trigger.trigger_id: trigger for trigger in sources.control.triggers()}
    found = reversed(sources.control.healings())
    return [_panel(healing, triggers[healing.trigger_id]) for healing in found]


def healing_values(sources: Sources, healing_id: str) -> dict[str, Any]:
    """Values of one healing's page.

    Raises:
        InputError: there is no such healing.
    """
    healing = sources.control.healing(healing_id)
    panel = _panel(healing, sources.control.trigger(healing.trigger_id))
    subjects = {healing.healing_id, healing.trigger_id}
    trail: list[AuditRow] = [row for row in sources.control.audit() if row.subject in subjects]
    return {"panel": panel, "trail": trail}


def healing_list_values(sources: Sources) -> dict[str, Any]:
    """Values of the list's template."""
    found = panels(sources)
    return {"panels": found[:SHOWN], "more": max(len(found) - SHOWN, 0)}


def release_values(sources: Sources) -> dict[str, Any]:
    """Values of the page of releases."""
    names = sources.registry.names()
    return {
        "releases": [
            {
                "now": sources.registry.read(name),
                "history": sources.registry.history(name)[::-1][:SHOWN],
                "path": path("releases", name, "rollback"),
            }
            for name in names
        ]
    }


def check_released(sources: Sources, model: str) -> None:
    """Refuse a model that has no release.

    Raises:
        InputError: it was never released.
    """
    if model not in sources.registry.names():
        raise InputError(f"model {model!r} was never released", hint="See /releases.")


def _panel(healing: Healing, trigger: Trigger) -> HealingPanel:
    return HealingPanel(healing, trigger, path("healings", healing.healing_id), choices(healing))
