from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitoring.scenes import MOST_OPEN_SCENES, OpenScene, Weighted, weigh_frames
from monitoring.scores import NUM_BINS
from redshank.cells import NUM_CONFIDENCE_BINS, FloatArray
from redshank.field_scenes import Frame, SceneRule, begins_scene
from tests.monitoring.streams import (
    ALPHA,
    HEALTHY,
    TICKS,
    first_alarms,
    most_false_alarms,
    null_of,
)


def weigh(frames: list[Frame], open_scenes: tuple[OpenScene, ...] = ()) -> Weighted:
    return weigh_frames(frames, open_scenes, gap_s=2.0, distance=6)


def frame(at_s: float, dhash: int, *, client: str = "a", sequence: str = "") -> Frame:
    return Frame(at_s, client, sequence, f"{dhash:016x}")


def test_frames_of_one_sequence_share_one_unit_whatever_they_look_like() -> None:
    result = weigh([frame(t, 0xFFFF << t, sequence="s1") for t in range(4)])
    assert result.weights_N.tolist() == [0.25] * 4
    assert result.scenes == 1


def test_similar_frames_of_one_client_are_a_scene_and_others_are_not() -> None:
    result = weigh(
        [
            frame(0.0, 0b0),
            frame(0.5, 0b111111),  # 6 bits from the frame before
            frame(1.0, 0xFFFF_0000_0000),  # another motif
            frame(1.1, 0b0, client="b"),  # another camera
            frame(1.5, 0b1111111),  # 1 bit from the second frame
            frame(9.0, 0b1111111),  # too late
        ]
    )
    assert result.weights_N.tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1, 1 / 3, 1])
    assert result.scenes == 4


def test_seven_bits_apart_and_missing_hashes_are_scenes_of_their_own() -> None:
    assert weigh([frame(0, 0), frame(0.1, 0b1111111)]).scenes == 2
    assert weigh([Frame(0, "a", "", ""), Frame(0.1, "a", "", "")]).scenes == 2


def test_a_scene_that_goes_on_in_the_next_tick_was_counted_already() -> None:
    first = weigh([frame(0.0, 0), frame(0.2, 0, sequence="q")])
    assert first.scenes == 2
    then = weigh([frame(1.0, 1), frame(1.1, 0, sequence="q"), frame(1.2, 0, sequence="new")],
                 first.open_scenes)  # fmt: skip
    assert then.weights_N.tolist() == [0.0, 0.0, 1.0]
    assert then.scenes == 1
    later = weigh([frame(50.0, 0, sequence="q"), frame(50.1, 1)], then.open_scenes)
    assert later.scenes == 1  # a sequence id keeps its scene; the anonymous scene has ended
    assert weigh([frame(200.0, 0, sequence="q")], later.open_scenes).scenes == 1  # so has this one


def test_silent_scenes_are_forgotten_and_memory_is_bounded() -> None:
    first = weigh([frame(0.0, 0, sequence="old"), frame(100.0, 0, sequence="young")])
    assert [s.sequence_id for s in first.open_scenes] == ["young"]
    many = weigh([frame(n * 0.001, 0, sequence=f"s{n}") for n in range(MOST_OPEN_SCENES + 50)])
    assert len(many.open_scenes) == MOST_OPEN_SCENES
    assert many.open_scenes[-1].sequence_id == f"s{MOST_OPEN_SCENES + 49}"


def test_no_frames_give_no_weights() -> None:
    result = weigh([])
    assert result.weights_N.shape == (0,)
    assert result.scenes == 0


def bursts(seed: int, streams: int, *, weighted: bool) -> FloatArray:
    """Healthy traffic in bursts of 1 to 39 copies of one image, two scenes a tick."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((TICKS, streams, NUM_BINS))
    p_Z, p_Q = HEALTHY[:NUM_CONFIDENCE_BINS], HEALTHY[NUM_CONFIDENCE_BINS:]
    for tick in range(TICKS):
        for stream in range(streams):
            for scene in range(2):
                size = int(rng.integers(1, 40))
                frames = [frame(i * 0.01, 0, sequence=f"{scene}") for i in range(size)]
                weight = weigh(frames).weights_N.sum() if weighted else float(size)
                counts[tick, stream, rng.choice(len(p_Z), p=p_Z)] += weight
                counts[tick, stream, len(p_Z) + rng.choice(len(p_Q), p=p_Q)] += weight
    return counts


def test_bursts_break_the_promise_without_scene_weights_and_keep_it_with_them() -> None:
    null = null_of(HEALTHY * 1000, 1000)
    streams = 30
    naive = first_alarms(null, bursts(11, streams, weighted=False))
    fair = first_alarms(null, bursts(11, streams, weighted=True))
    assert sum(tick >= 0 for tick in naive) > streams / 2
    assert sum(tick >= 0 for tick in fair) <= most_false_alarms(streams, ALPHA * 1.25)


def test_the_field_store_sees_the_same_scenes(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    motifs = [0x0, 0xFFFF_FFFF, 0xFFFF_0000_FFFF_0000]
    frames, at_s = [], 0.0
    for _ in range(150):
        at_s += float(rng.exponential(0.6))
        near = motifs[rng.integers(3)] ^ (1 << int(rng.integers(60)))
        sequence = f"s{rng.integers(3)}" if rng.random() < 0.2 else ""
        frames.append(frame(at_s, near, client=f"c{rng.integers(2)}", sequence=sequence))
    began = [begins_scene(tmp_path / "site.json", one, SceneRule()) for one in frames]
    assert 10 < sum(began) < 140
    assert weigh(frames).scenes == sum(began)
