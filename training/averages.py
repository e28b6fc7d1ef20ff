"""The weight averages of a training: the networks that are evaluated and exported."""

from __future__ import annotations

from torch import Tensor

from redshank.nn import averaged_copy, effective_decay, update_average
from redshank.nn.backbones import Backbone
from redshank.nn.ema import mean_decay


class Averages:
    """Exponential over all steps, and with `late_start` the plain mean from that step on.

    Args:
        model: plain, as it starts.
        decay: of the exponential average.
        late_start: first step (from 0) of the late average; None: there is none.
    """

    def __init__(self, model: Backbone, *, decay: float, late_start: int | None) -> None:
        self._decay, self._late_start = decay, late_start
        self.exponential = averaged_copy(model)
        self.late = None if late_start is None else averaged_copy(model)

    @property
    def chosen(self) -> Backbone:
        """The late average where there is one."""
        return self.exponential if self.late is None else self.late

    def update(self, model: Backbone, step: int) -> None:
        """Takes in the weights after step `step` (from 0)."""
        update_average(self.exponential, model, effective_decay(self._decay, step))
        if self.late is not None and self._late_start is not None and step >= self._late_start:
            update_average(self.late, model, mean_decay(step - self._late_start))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        found = {f"average.{n}": t for n, t in self.exponential.state_dict().items()}
        if self.late is not None:
            found |= {f"late.{n}": t for n, t in self.late.state_dict().items()}
        return found

    def restore(self, groups: dict[str, dict[str, Tensor]]) -> None:
        """Goes on from `tensors()`, grouped by what comes before the first dot."""
        self.exponential.load_state_dict(groups["average"])
        if self.late is not None:
            self.late.load_state_dict(groups["late"])
