from __future__ import annotations

from datetime import UTC, datetime

import pytest

from redshank.errors import ConfigError
from retraining.schedule import last_slot_s


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("after", "until", "slot"),
    [
        ("2026-11-22 02:59", "2026-11-22 03:01", "2026-11-22 03:00"),
        ("2026-11-22 02:59", "2026-11-22 03:00", "2026-11-22 03:00"),
        ("2026-11-22 03:00", "2026-11-22 23:00", None),
        ("2026-11-01 00:00", "2026-11-22 02:59", "2026-11-21 03:00"),  # three weeks: one slot
    ],
)
def test_the_newest_slot_counts(after: str, until: str, slot: str | None) -> None:
    expected = None if slot is None else at(slot)
    assert last_slot_s("0 3 * * *", after_s=at(after), until_s=at(until)) == expected


def test_fractions_of_a_second() -> None:
    assert last_slot_s("*/5 * * * *", after_s=0.0, until_s=899.9) == 600.0
    assert last_slot_s("*/5 * * * *", after_s=0.0, until_s=900.1) == 900.0
    assert last_slot_s("*/5 * * * *", after_s=900.0, until_s=900.9) is None


def test_nonsense_is_named() -> None:
    with pytest.raises(ConfigError, match="'sometimes'"):
        last_slot_s("sometimes", after_s=0.0, until_s=1.0)
