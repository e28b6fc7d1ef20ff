from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from redshank.errors import InputError, IntegrityError
from redshank.infer import Model, Predictions
from serving.prepare import LONGEST_RUN_S, batch_limit, prepare_model

WriteBundle = Callable[..., Path]
LimitOf = Callable[["Timed", int], int]


class Timed:
    """A model whose run takes `fixed_s + image_s * n`, and that answers a value."""

    class bundle:  # noqa: N801  # stands for the field
        bundle_id = "b"

        class input:  # noqa: N801
            height, width, channels = 4, 4, 3

    def __init__(self, fixed_s: float, image_s: float, value: float = 0.5) -> None:
        self.fixed_s, self.image_s, self.value = fixed_s, image_s, value
        self.sizes: list[int] = []
        self.now_s = 0.0
        self.runs = 0

    def run(self, images_NHW3: npt.NDArray[np.uint8]) -> None:
        disturbed = 1.5 if self.runs % 3 == 0 else 1.0  # others use the machine as well
        self.now_s += disturbed * (self.fixed_s + self.image_s * len(images_NHW3))
        self.runs += 1

    def predict(self, images_NHW3: npt.NDArray[np.uint8]) -> Predictions:
        self.sizes.append(len(images_NHW3))
        p_NC = np.full((len(images_NHW3), 2), self.value)
        return cast("Predictions", type("P", (), {"probabilities_NC": p_NC}))


@pytest.fixture
def limit_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Timed, int], int]:
    """The batch limit of a model, on a clock that only its runs move."""

    def limit(model: Timed, most: int) -> int:
        clock = SimpleNamespace(perf_counter=lambda: model.now_s)
        monkeypatch.setattr("serving.prepare.time", clock)
        return batch_limit(cast("Model", model), max_batch=most)[0]

    return limit


def test_batches_are_as_large_as_they_pay(limit_of: LimitOf) -> None:
    assert limit_of(Timed(0.02, 0.0), 12) == 12  # a run costs the same whatever its size
    assert limit_of(Timed(0.0, 0.03), 16) == 1  # nothing is won, and the first would wait
    slow = Timed(2 * LONGEST_RUN_S, 0.0)
    assert limit_of(slow, 16) == 1
    assert slow.sizes == [1]  # larger ones are not even tried


def test_nan_is_refused(limit_of: LimitOf) -> None:
    with pytest.raises(IntegrityError, match="NaN"):
        limit_of(Timed(0.0, 0.0, float("nan")), 4)


def test_a_bundle_that_does_not_fit_is_refused(
    tmp_path: Path, write_bundle_folder: WriteBundle
) -> None:
    folder = write_bundle_folder(tmp_path / "20261122T090000-aaaaaa")
    prepared = prepare_model(folder, name="default", max_batch=8)
    assert 1 <= prepared.max_batch <= 8
    with pytest.raises(InputError, match="is of model 'default', not 'other'"):
        prepare_model(folder, name="other", max_batch=8)
    moved: Any = shutil.copytree(folder, tmp_path / "20261122T090000-bbbbbb")
    with pytest.raises(IntegrityError, match="holds the bundle 20261122T090000-aaaaaa"):
        prepare_model(moved, name="default", max_batch=8)
