"""Where every domain stands, read from the database without the evaluator."""

from __future__ import annotations

from typing import Any

from redshank.cells import mean_confidence
from redshank.errors import InputError
from redshank.files import Clock, rfc3339
from redshank.records import did_you_mean
from redshank.registry import Registry
from redshank.settings import Settings
from redshank.store.monitor import open_monitor
from redshank.store.monitor_days import days_of
from redshank.store.monitor_rows import StreamRow, Window

from .releases import Releases
from .verdict import answering_rows, present_state, rounded


def fleet_status(settings: Settings, *, clock: Clock) -> list[dict[str, Any]]:
    """One JSON object a domain, by model and domain.

    Raises:
        InputError: no evaluator has run yet.
    """
    store = open_monitor(settings.home.monitor_database, create=False)
    releases = Releases(Registry(settings.home.path("models"), settings.home.path("bundles")))
    rows = store.streams()
    versions = {model: releases.answering(model) for model in {row.key.model for row in rows}}

    def answers(row_key: Any) -> bool:
        known = versions[row_key.model]
        return known is None or row_key.version in known

    return [row_status(row, settings, clock()) for row in answering_rows(rows, answers)]


def domain_history(settings: Settings, *, domain: str, model: str) -> list[dict[str, Any]]:
    """One JSON object a tick and version of a domain, in order of time.

    Raises:
        InputError: no evaluator has run yet, or it has counted nothing of this domain.
    """
    store = open_monitor(settings.home.monitor_database, create=False)
    windows = store.windows(model=model, domain=domain)
    if not windows:
        names = {row.key.domain for row in store.streams() if row.key.model == model}
        raise InputError(
            f"nothing was counted of domain {domain!r} of model {model}"
            f"{did_you_mean(domain, names)}",
            hint="`redshank watch status` lists domains.",
        )
    return [_tick(window) for window in windows]


def domain_days(settings: Settings, *, domain: str, model: str) -> list[dict[str, Any]]:
    """One JSON object a past day (UTC) and version of a domain, in order of time.

    Raises:
        InputError: no evaluator has run yet.
    """
    store = open_monitor(settings.home.monitor_database, create=False)
    return [
        {
            **day.key._asdict(),
            "day": rfc3339(day.day * 86_400.0)[:10],
            "images": day.events - day.errors,
            "errors": day.errors,
            "scenes": day.scenes,
            "mean_confidence": mean_confidence(day.cells_CZ) if day.cells_CZ.any() else None,
            "defects": vars(day.defects),
            "state": day.state,
        }
        for day in days_of(store.engine, model=model, domain=domain)
    ]


def _tick(window: Window) -> dict[str, Any]:
    found = {"absolute": window.absolute, "relative": window.relative}
    return {
        **window.key._asdict(),
        "tick": window.tick,
        "at": rfc3339(window.at_s),
        "images": window.events - window.errors,
        "errors": window.errors,
        "scenes": window.scenes,
        "mean_confidence": window.mean_confidence,
        "evidence": {n: rounded(evidence) for n, evidence in found.items() if evidence is not None},
        "state": window.state,
    }


def row_status(row: StreamRow, settings: Settings, now_s: float) -> dict[str, Any]:
    """A row as the command and the console's API tell it."""
    state, sentence = present_state(
        row, now_s=now_s, silent_after_s=settings.monitoring.silent_after_s
    )
    alarm = row.detail.get("alarm") or {}
    return {
        **row.key._asdict(),
        "state": state,
        "sentence": sentence,
        "onset": alarm.get("onset"),
        "raised": alarm.get("raised"),
        "images_until_alarm": alarm.get("images_until_alarm"),
        "scenes_until_alarm": alarm.get("scenes_until_alarm"),
        "last_event": rfc3339(row.last_event_s),
        **row.detail,
    }
