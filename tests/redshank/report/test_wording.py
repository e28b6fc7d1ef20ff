from __future__ import annotations

from redshank.report.wording import summary_rows


def test_figures_for_people() -> None:
    summary = {
        "accuracy_before": 0.812,
        "accuracy_challenger": None,
        "requests": 12345,
        "failed_requests": 0,
        "promoted": True,
        "alarm_raised": False,
        "alarm_reason": "",
        "healing_state": "rolled_back",
        "healing_reason": "ann said so",
        "gates": [{"name": "golden"}],
        "seconds_by_step": {"train": 3.0},
        "seconds": 0.0,
        "my_own_ratio": 0.123456,
    }
    assert summary_rows(summary) == [
        ("accuracy before healing", "81.2%"),
        ("requests sent", "12,345"),
        ("requests that failed", "0"),
        ("healed model released", "yes"),
        ("alarm raised", "no"),
        ("how the healing ended", "rolled back"),
        ("why it ended so", "ann said so"),
        ("my own ratio", "0.1235"),
    ]
    assert summary_rows({"seconds": 211.4}) == [("time of the whole run", "211 s")]
