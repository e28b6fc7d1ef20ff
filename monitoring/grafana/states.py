"""The states of domains as numbers, for panels that draw one number over time."""

from __future__ import annotations

from redshank.store.monitor_rows import State

NUMBERS: dict[State, tuple[int, str]] = {
    "healthy": (0, "green"),
    "learning": (1, "blue"),
    "silent": (2, "text"),
    "drift": (3, "yellow"),
    "unknown": (4, "purple"),
    "degraded": (5, "red"),
}
"""Number and colour; a larger number is worse."""
VALUES = {number: (state, colour) for state, (number, colour) in NUMBERS.items()}


def state_number(labels: str) -> str:
    """PromQL: the number of each domain's state, the worst where versions differ."""
    parts = (
        f'redshank_domain_state{{{labels}, state="{state}"}} * {number}'
        for state, (number, _) in NUMBERS.items()
    )
    return f"max by (model, domain) ({' or '.join(parts)})"
