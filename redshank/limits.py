"""Numbers of a settings section that cannot work are refused by name, before any work."""

from __future__ import annotations

from collections.abc import Mapping

from redshank.errors import ConfigError


def check_limits(section: str, limits: Mapping[str, tuple[float, float, float]]) -> None:
    """Refuse the first value outside its limits; NaN is outside of all.

    Args:
        section: name of the section, as in `redshank.toml`.
        limits: key in the section -> (value, least, most), both ends allowed.

    Raises:
        ConfigError: naming key, value and limits.
    """
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise ConfigError(
                f"{section}.{name} is {value}, expected {low} to {high}",
                hint=f"Set it in redshank.toml or by --set {section}.{name}=VALUE.",
            )
