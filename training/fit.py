"""The training loop: data in, averaged model out; interrupted anywhere, it goes on the same way.

Step t is a function of the seed, t and the state below alone, so a checkpoint holds no sampler or
random state: weights, average, momentum, FixCLR's queue, curves and the collapse guard are all.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from redshank.errors import StageError
from redshank.nn import FixCLRLoss, averaged_copy, effective_decay, update_average
from redshank.nn.backbones import Backbone, build_backbone
from redshank.nn.checkpoint import load_tensors, save_tensors
from redshank.run import HistoryRow
from redshank.settings import TrainingSettings

from .batches import Batches
from .collapse import CollapseGuard
from .data import TrainingData
from .history import History
from .images import Progress
from .step import Losses, make_optimizer, ramp, set_learning_rate, step_losses
from .style import StyleShares
from .views import Views

HISTORY_ROWS = 100


@dataclass(frozen=True)
class Fitted:
    """The averaged model in evaluation mode, and its training curves."""

    model: Backbone
    history: tuple[HistoryRow, ...]


def fit(
    data: TrainingData,
    settings: TrainingSettings,
    *,
    steps: int,
    device: torch.device,
    checkpoint: Path,
    phase: str,
    progress: Progress,
    start: Backbone | None = None,
) -> Fitted:
    """Trains for `steps` steps, from `start` or from random weights.

    Goes on from `checkpoint` when the file is there: delete it to start anew.

    Raises:
        StageError: pseudo-labels collapsed, or the loss is not finite.
    """
    loop = _Loop(data, settings, steps, device, start)
    if checkpoint.is_file():
        loop.restore(checkpoint)
    while loop.step < steps:
        loop.advance()
        progress(phase, loop.step, steps)
        if loop.step % settings.checkpoint_every == 0 or loop.step == steps:
            loop.save(checkpoint)
    return Fitted(loop.average, loop.history.as_rows())


def views_of(settings: TrainingSettings) -> Views:
    """The views that the settings ask for."""
    style = settings.style
    return Views(
        flip=settings.horizontal_flip,
        colour_jitter=settings.colour_jitter,
        style=StyleShares(
            fourier=style.fourier,
            channel_statistics=style.channel_statistics,
            random_convolution=style.random_convolution,
            texture=style.texture,
        ),
        style_labelled=style.labelled,
        strong_labelled=settings.labelled_view == "strong",
    )


def initial_model(data: TrainingData, settings: TrainingSettings) -> Backbone:
    """The network with seeded random weights; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return build_backbone(
            settings.backbone,
            len(data.classes),
            width=settings.width,
            weights=Path(settings.weights) if settings.weights else None,
        )


class _Loop:
    """State of a training between two steps."""

    def __init__(
        self,
        data: TrainingData,
        settings: TrainingSettings,
        steps: int,
        device: torch.device,
        start: Backbone | None,
    ) -> None:
        self.settings, self.steps, self.step = settings, steps, 0
        model = initial_model(data, settings)
        if start is not None:
            model.load_state_dict(start.state_dict())
        self.model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = averaged_copy(self.model)
        self.optimizer = make_optimizer(
            self.model, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.fixclr = FixCLRLoss(tau=settings.fixclr.temperature).to(device)
        self.history = History(max(1, steps // HISTORY_ROWS))
        self.guard = CollapseGuard(len(data.classes))
        # bf16 pays for ResNets on a GPU; the small network is bound by launches, a CPU by memory
        self.autocast = device.type == "cuda" and settings.backbone != "small_cnn"
        self.device = device
        self.batches = Batches(
            data,
            labelled=settings.labelled_per_step,
            unlabelled=settings.unlabelled_per_step if self._needs_unlabelled() else 0,
            field_share=settings.field_share,
            views=views_of(settings),
            seed=settings.seed,
            device=device,
        )
        self.row_started, self.row_images = time.perf_counter(), 0

    def advance(self) -> None:
        """One step."""
        settings = self.settings
        rate = settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * self.step / self.steps))
        set_learning_rate(self.optimizer, rate)
        batch = self.batches.batch(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            losses = step_losses(
                self.model,
                batch,
                self.fixclr,
                threshold=settings.fixmatch.threshold,
                unlabelled_weight=settings.fixmatch.weight,
                fixclr_weight=settings.fixclr.weight
                * ramp(self.step, self.steps, settings.fixclr.ramp_share),
            )
        if not torch.isfinite(losses.total):
            raise StageError(
                f"the loss is {losses.total.item()} at step {self.step + 1}",
                hint="Lower training.learning_rate or training.fixclr.weight.",
            )
        self.optimizer.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        update_average(self.average, self.model, effective_decay(settings.ema_decay, self.step))
        self.step += 1
        self._report(losses, batch.report_label_U, rate, len(batch.label_L))

    def _needs_unlabelled(self) -> bool:
        return self.settings.fixmatch.weight > 0 or self.settings.fixclr.weight > 0

    def _report(self, losses: Losses, report_label_U: Tensor, rate: float, labelled: int) -> None:
        classes = self.model.head.out_features
        self.history.add(losses, report_label_U)
        self.row_images += labelled + len(report_label_U)
        self.guard.update(
            torch.bincount(losses.target_U, minlength=classes).tolist(), int(losses.mask_U.sum())
        )
        if self.history.due(self.step, self.steps):
            seconds = time.perf_counter() - self.row_started
            self.history.close_row(
                self.step, learning_rate=rate, images_per_s=self.row_images / max(seconds, 1e-9)
            )
            self.row_started, self.row_images = time.perf_counter(), 0

    def save(self, path: Path) -> None:
        """Writes everything the next step depends on."""
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self.average.state_dict().items()}
        tensors |= {f"fixclr.{n}": t for n, t in self.fixclr.state_dict().items() if t.numel()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors[f"momentum.{number}"] = state["momentum_buffer"]
        facts = {
            "step": self.step,
            "history": self.history.state(),
            "guard": self.guard.state(),
        }
        save_tensors(path, tensors, facts)

    def restore(self, path: Path) -> None:
        """Goes on from what `save` wrote."""
        tensors, facts = load_tensors(path, device=str(self.device))
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            groups.setdefault(group, {})[rest] = tensor
        self.model.load_state_dict(groups["model"])
        self.average.load_state_dict(groups["average"])
        self.fixclr.load_state_dict(groups.get("fixclr", {}), strict=False)
        state = self.optimizer.state_dict()
        state["state"] = {
            int(n): {"momentum_buffer": t} for n, t in groups.get("momentum", {}).items()
        }
        self.optimizer.load_state_dict(state)
        self.step = facts["step"]
        self.history.restore(facts["history"])
        self.guard.restore(facts["guard"])
