"""Settings of the evaluator that cannot work, refused before its database is opened.

The tick length belongs to the database, and a negative retention time would delete every count.
"""

from __future__ import annotations

from redshank.limits import check_limits
from redshank.settings import MonitoringSettings


def check_settings(settings: MonitoringSettings) -> None:
    """Refuses settings that cannot work, by name.

    Raises:
        ConfigError: the first one outside its limits.
    """
    check_limits(
        "monitoring",
        {
            "tick_s": (settings.tick_s, 0.001, 10**7),
            "period_ticks": (settings.period_ticks, 1, 10**9),
            "false_alarms": (settings.false_alarms, 1e-9, 0.999),
            "margin": (settings.margin, 0.0, 0.99),
            "absolute_margin": (settings.absolute_margin, 0.0, 0.99),
            "burn_in_scenes": (settings.burn_in_scenes, 1, 10**9),
            "scene_gap_s": (settings.scene_gap_s, 0.0, 10**9),
            "scene_distance": (settings.scene_distance, 0, 64),
            "silent_after_s": (settings.silent_after_s, 0.001, 10**12),
            "max_domains": (settings.max_domains, 1, 10**7),
            "metrics_domains": (settings.metrics_domains, 0, 10**7),
            "window_days": (settings.window_days, 0.0, 10**6),
            "port": (settings.port, 0, 65_535),
        },
    )
