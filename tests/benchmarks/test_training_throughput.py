from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks.training_peer import Form, PlainLoop
from benchmarks.training_throughput import new_loop, peer_batches, print_step_ratio, random_data
from redshank.settings import TrainingSettings
from training.parts import initial_model

SMALL = dataclasses.replace(
    TrainingSettings(), width=4, labelled_per_step=4, unlabelled_per_step=6, device="cpu"
)


@pytest.mark.parametrize("form", ["pil", "tensor"])
def test_the_plain_pipeline_makes_the_same_views(form: Form) -> None:
    data = random_data(32, images=90)
    batch, ours = peer_batches(SMALL, data, form, 0).batch(0), new_loop(SMALL, data).feed.batch(0)
    for name in ("labelled_L3HW", "weak_U3HW", "strong_U3HW", "label_L", "report_label_U"):
        theirs, mine = getattr(batch, name), getattr(ours, name)
        assert theirs.shape == mine.shape
        assert theirs.dtype == mine.dtype
    assert batch.strong_U3HW.min() >= 0.0
    assert batch.strong_U3HW.max() <= 1.0
    assert (batch.label_L >= 0).all()


def test_the_plain_loop_learns() -> None:
    data = random_data(32, images=90)
    model = initial_model(data, SMALL)
    loop = PlainLoop(model, peer_batches(SMALL, data, "tensor", 0), SMALL)
    before = model.head.state_dict()["weight"].clone()
    loop.advance()
    assert not torch.equal(model.head.state_dict()["weight"], before)


def test_step_ratio_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_step_ratio(SMALL, random_data(32, images=90), pairs=2)
    assert "FixMatch + FixCLR over FixMatch" in capsys.readouterr().out
