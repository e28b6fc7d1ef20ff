from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from redshank.errors import MissingPartError
from redshank.run import HistoryRow, read_history
from training.history import in_words
from training.tensorboard import curves, scalars
from training.train import train

from .conftest import SMALL, MakeManifest

ROW = HistoryRow(
    step=50,
    loss=2.0,
    loss_labelled=1.0,
    loss_unlabelled=0.7,
    loss_fixclr=0.1,
    mask_rate=0.5,
    pseudo_label_precision=None,
    learning_rate=0.03,
    images_per_s=1234.5,
    mask_rate_by_domain={"north": 0.4, "field": 0.6},
    precision_by_domain={"north": 0.75},
)


def test_unknown_figures_leave_a_gap() -> None:
    found = scalars(ROW)
    assert "pseudo_labels/precision" not in found
    assert found["pseudo_labels_precision/north"] == 0.75
    assert found["pseudo_labels_used/field"] == 0.6
    assert found["loss/total"] == 2.0


def test_a_row_in_words() -> None:
    assert in_words(ROW) == (
        "step 50, 1,234 images/s, loss 2.000, pseudo-labels used 50%, right: north 75%"
    )


def test_training_writes_what_its_history_says(make_manifest: MakeManifest, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    logs = tmp_path / "logs"
    settings = dataclasses.replace(SMALL, tensorboard=str(logs), prefetch="on")
    run = train(make_manifest(("north", "south", "field")), settings, tmp_path / "runs")
    plain = train(make_manifest(("north", "south", "field")), SMALL, tmp_path / "plain")
    rows = read_history(run)
    assert [row.loss for row in rows] == [row.loss for row in read_history(plain)]
    assert set(rows[0].mask_rate_by_domain) == {"north", "south", "field"}
    for row in rows:  # three domains take equal shares
        mean = sum(row.mask_rate_by_domain.values()) / 3
        assert mean == pytest.approx(row.mask_rate, abs=0.2)
    (file,) = logs.rglob("events.*")
    assert file.parent.name == "main"
    written = [
        event.step
        for event in events(file)
        for value in event.summary.value
        if value.tag == "loss/total"
    ]
    assert written == [row.step for row in rows]


def events(file: Path) -> list[Any]:
    """Records of the file: length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, found, place = file.read_bytes(), [], 0
    while place < len(content):
        size = int.from_bytes(content[place : place + 8], "little")
        found.append(Event.FromString(content[place + 12 : place + 12 + size]))
        place += 12 + size + 4
    return found


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPartError, match="not installed"), curves(tmp_path):
        pass
