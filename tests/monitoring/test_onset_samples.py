import dataclasses

import numpy as np

from monitoring.onset_samples import OnsetSamples, leading_alarm
from redshank.store.monitor_rows import Alarm, Evidence, StreamKey, Window

KEY = StreamKey("default", "b1", "fog")
EVIDENCE = Evidence(5.0, 5.0, 4.0)
ALARM = Alarm(
    alarm_id="a1",
    key=KEY,
    kind="drift",
    cause="look",
    reference="relative",
    onset_s=4 * 0.3,
    raised_tick=6,
    raised_s=2.1,
    evidence=EVIDENCE,
    images_since_onset=30,
    scenes_since_onset=30,
    sentence="",
    trigger=None,
)
WORSE = dataclasses.replace(ALARM, alarm_id="a2", kind="degraded", onset_s=6 * 0.3)


def window(tick: int) -> Window:
    cells = np.zeros((2, 19))
    cells[tick % 2, tick % 19] = tick
    return Window(
        KEY, tick, tick + 1.0, tick, 0, tick, cells, np.full(11, tick / 11.0), 0.9, None, EVIDENCE,
        "drift",
    )  # fmt: skip


class History:
    """Windows 0 to `now`, and how often somebody read them."""

    def __init__(self) -> None:
        self.reads = 0
        self.now = 0

    def __call__(self, tick: int) -> list[Window]:
        self.reads += 1
        return [window(t) for t in range(tick, self.now + 1)]


def test_windows_since_the_onset_are_read_once_and_then_added() -> None:
    samples, history = OnsetSamples(), History()
    for history.now in range(6, 12):
        samples.take(window(history.now), [ALARM], history, tick_s=0.3)
        found = samples.of(KEY, [ALARM])
        assert found is not None
        assert found.scenes == sum(range(4, history.now + 1))
        expected = sum(window(t).cells_CZ for t in range(4, history.now + 1))
        np.testing.assert_array_equal(found.cells_CZ, expected)
    assert history.reads == 1


def test_after_a_restart_it_is_the_same_to_the_last_bit() -> None:
    whole, history = OnsetSamples(), History()
    for history.now in range(6, 12):
        whole.take(window(history.now), [ALARM], history, tick_s=0.3)
    restarted = OnsetSamples()
    restarted.take(window(11), [ALARM], history, tick_s=0.3)
    first, second = whole.of(KEY, [ALARM]), restarted.of(KEY, [ALARM])
    assert first is not None
    assert second is not None
    assert first.to_memory() == second.to_memory()


def test_a_worse_alarm_begins_at_its_own_onset_and_the_end_ends_it() -> None:
    samples, history = OnsetSamples(), History()
    history.now = 7
    samples.take(window(7), [ALARM], history, tick_s=0.3)
    assert samples.of(KEY, [ALARM, WORSE]) is None  # until a tick came
    samples.take(window(7), [ALARM, WORSE], history, tick_s=0.3)
    found = samples.of(KEY, [ALARM, WORSE])
    assert found is not None
    assert found.scenes == 6 + 7
    samples.take(window(8), [], history, tick_s=0.3)
    assert samples.of(KEY, [WORSE]) is None
    assert samples.of(KEY, []) is None


def test_harm_leads() -> None:
    assert leading_alarm([ALARM, WORSE]) is WORSE
    assert leading_alarm([]) is None
