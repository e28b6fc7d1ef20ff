"""Scheduled triggers: a cron expression in UTC, one trigger a slot."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from redshank.errors import ConfigError


def last_slot_s(expression: str, *, after_s: float, until_s: float) -> float | None:
    """The newest slot in (after_s, until_s], in seconds since the epoch; None when there is none.

    Slots that a stopped loop missed are made up by one trigger, not by one each.

    Raises:
        ConfigError: the expression is no cron expression.
    """
    until = datetime.fromtimestamp(until_s, tz=UTC)
    try:
        # backwards from just after `until`, so that a slot at `until` itself counts
        slots = CronSim(expression, datetime.fromtimestamp(int(until_s) + 1, tz=UTC), reverse=True)
    except CronSimError as error:
        raise ConfigError(
            f"retraining.schedule {expression!r} is no cron expression: {error}",
            hint="Five fields in UTC, like 0 3 * * 1 for Mondays at 03:00.",
        ) from error
    for slot in slots:
        if slot <= until:
            return slot.timestamp() if slot.timestamp() > after_s else None
    return None
