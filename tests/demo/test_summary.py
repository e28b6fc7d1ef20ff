import io
import json
from pathlib import Path

from demo.console import Console, percent
from demo.summary import Summary, summary_text, write_summary

PROMISED = (
    "false_alarms",
    "alarm_raised",
    "images_until_alarm",
    "promoted",
    "failed_requests",
    "accuracy_before",
    "accuracy_after",
    "seconds",
)


def test_the_file_holds_what_the_documentation_promises(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.json", Summary(alarm_raised=True, images_until_alarm=28))
    values = json.loads((tmp_path / "summary.json").read_text())
    assert set(PROMISED) <= set(values)
    assert values["images_until_alarm"] == 28
    assert values["accuracy_before"] is None


def test_text_of_a_healing_that_was_published() -> None:
    summary = Summary(
        requests=10, alarm_raised=True, images_until_alarm=28, healing_state="live", promoted=True
    )
    summary.accuracy_before, summary.accuracy_after = 0.8, 0.95
    text = summary_text(summary)
    assert "after 28 images" in text
    assert "80.0 % before, 95.0 % after" in text


def test_text_of_a_refusal_shows_both_models() -> None:
    summary = Summary(healing_state="rejected", accuracy_before=0.8, accuracy_after=0.8)
    summary.accuracy_challenger = 0.1
    assert "80.0 % after (the refused challenger: 10.0 %)" in summary_text(summary)
    assert "no" in summary_text(summary)


def test_console_numbers_and_times_the_steps() -> None:
    stream = io.StringIO()
    console = Console(stream)
    with console.step("data", "Build the digits."):
        console.say("10 images\n\n20 images")
    with console.step("train", "Train."):
        pass
    text = stream.getvalue()
    assert "[1/7] Build the digits." in text
    assert "\n      10 images\n\n      20 images\n" in text
    assert "[2/7] Train." in text
    assert set(console.seconds) == {"data", "train"}


def test_console_keeps_the_largest_memory() -> None:
    console = Console(io.StringIO())
    for mib in (10.0, 30.0, 20.0):
        console.remember_memory("serve", mib)
    assert console.peak_memory_mib == {"serve": 30.0}


def test_percent() -> None:
    assert percent(0.9531) == "95.3 %"
    assert percent(None) == "-"
