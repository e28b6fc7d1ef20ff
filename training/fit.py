"""The training loop: data in, averaged model out; interrupted anywhere, it goes on the same way.

Step t is a function of the seed, t and the state below alone, so a checkpoint holds no sampler or
random state: weights, averages, momentum, FixCLR's queue and head, the teacher's averages, curves
and the collapse guards are all.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from redshank.errors import StageError
from redshank.nn.backbones import Backbone
from redshank.nn.checkpoint import load_tensors, save_tensors
from redshank.nn.ema import recompute_statistics
from redshank.run import HistoryRow
from redshank.settings import TrainingSettings

from .averages import Averages
from .batches import Batch, Batches
from .collapse import CollapseGuards
from .data import TrainingData
from .history import History, in_words
from .images import Progress
from .parts import fixclr_of, initial_model, teacher_of, views_of
from .prefetch import Prefetched
from .processes import current_processes, parallel
from .step import Losses, Weights, make_optimizer, ramp, set_learning_rate, step_losses
from .tensorboard import curves

HISTORY_ROWS = 100
LOGGED_ROWS = 10
"""Every so many rows one is said in words."""
STATISTICS_BATCHES = 50
"""Steps whose views recomputed BatchNorm statistics are made of."""


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

    Goes on from `checkpoint` when the file is there: delete it to start anew. Several processes may
    go on with what one wrote, and the other way round.

    Raises:
        StageError: pseudo-labels collapsed, or the loss is not finite.
    """
    processes = current_processes()
    loop = Loop(data, settings, steps, device, start)
    if processes.agreed(str(checkpoint.is_file())) == str(True):
        loop.restore(checkpoint)
    logs = Path(settings.tensorboard) / checkpoint.parent.name.lstrip(".") / checkpoint.stem
    with (
        curves(logs if settings.tensorboard and processes.writes else None) as show,
        loop.feeding(),
    ):
        while loop.step < steps:
            row = loop.advance()
            progress(phase, loop.step, steps)
            if row is not None and processes.writes:
                show(row)
                if len(loop.history.rows) % LOGGED_ROWS == 0:
                    logging.getLogger(__name__).info("%s: %s", phase, in_words(row))
            due = loop.step % settings.checkpoint_every == 0 or loop.step == steps
            if due and processes.writes:
                loop.save(checkpoint)
    return Fitted(loop.result(), loop.history.as_rows())


def uses_bfloat16(precision: str, backbone: str, device: torch.device) -> bool:
    """Whether the network passes run in bfloat16.

    `auto` does so for large networks on a GPU: the small one is bound by launches there, and a CPU
    by memory.
    """
    if precision == "auto":
        return device.type == "cuda" and backbone != "small_cnn"
    return precision == "bfloat16"


class Feed(Protocol):
    """Where steps take their batches from."""

    def batch(self, step: int) -> Batch:
        """Of step `step`, from 0."""
        ...


class Loop:
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
        self.model: Backbone = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        late_start = steps - max(1, round(settings.late_share * steps))
        self.averages = Averages(
            self.model,
            decay=settings.ema_decay,
            late_start=late_start if settings.average == "late" else None,
        )
        if settings.compile:
            self.model.compile()
        self.forward = parallel(self.model)
        self.fixclr = fixclr_of(settings, self.model.embedding_dim).to(device)
        self.optimizer = make_optimizer(
            self.model,
            self.fixclr,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            head_rate_factor=settings.head_rate_factor,
        )
        self.history = History(max(1, steps // HISTORY_ROWS), data.domains)
        self.autocast = uses_bfloat16(settings.precision, settings.backbone, device)
        self.device, self.noise = device, Generator(device)
        self.batches = Batches(
            data,
            labelled=settings.labelled_per_step,
            unlabelled=settings.unlabelled_per_step if self._needs_unlabelled() else 0,
            field_share=settings.field_share,
            views=views_of(settings),
            seed=settings.seed,
            device=device,
        )
        self.feed: Feed = self.batches
        self.teacher = teacher_of(
            data, settings, steps=steps, num_images=self.batches.num_unlabelled, device=device
        )
        self.guards = CollapseGuards(data, self.teacher, drop=settings.target.on_collapse == "drop")
        self.row_started, self.row_images = time.perf_counter(), 0

    @contextmanager
    def feeding(self) -> Iterator[None]:
        """Inside, steps take what `feed` has ready."""
        wanted = self.settings.prefetch
        pays = self.device.type == "cuda" or self.settings.pixels == "stream"
        if wanted == "off" or (wanted == "auto" and not pays):
            yield
            return
        with Prefetched(self.batches) as ahead:
            self.feed = ahead
            yield
        self.feed = self.batches

    def advance(self) -> HistoryRow | None:
        """One step; gives the history's row where it ends one."""
        settings = self.settings
        rate = settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * self.step / self.steps))
        set_learning_rate(self.optimizer, rate)
        batch = self.feed.batch(self.step)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)
        with self._noise() as noise, autocast:
            losses = step_losses(
                self.model,
                batch,
                self.fixclr,
                self.teacher,
                self._weights(),
                step=self.step,
                generator=noise,
                forward=self.forward,
            )
        if not torch.isfinite(losses.total):
            raise StageError(
                f"the loss is {losses.total.item()} at step {self.step + 1}",
                hint="Lower training.learning_rate or training.fixclr.weight.",
            )
        self.optimizer.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.averages.update(self.model, self.step)
        self.step += 1
        return self._report(losses, batch, rate)

    def result(self) -> Backbone:
        """The average that the settings ask for, in evaluation mode."""
        chosen = self.averages.chosen
        if self.settings.average_statistics == "averaged":
            return chosen
        chosen = copy.deepcopy(chosen)  # a checkpoint must hold what training goes on with
        recompute_statistics(chosen, self._more_views())
        return chosen

    def _more_views(self) -> Iterator[Tensor]:
        """What the network would see in the next steps, in the same portions."""
        for step in range(self.steps, self.steps + STATISTICS_BATCHES):
            batch = self.batches.batch(step, whole=True)
            if len(batch.weak_U3HW):
                yield batch.weak_U3HW
            yield torch.cat([batch.labelled_L3HW, batch.strong_U3HW])

    def _weights(self) -> Weights:
        settings, chosen = self.settings, self.settings.fixclr
        fixclr = chosen.weight * ramp(self.step, self.steps, chosen.ramp_share)
        return Weights(settings.fixmatch.weight, fixclr, chosen.confidence)

    @contextmanager
    def _noise(self) -> Iterator[Generator]:
        """What the network draws in this step, a function of seed and step as the views are.

        Dropout and stochastic depth know torch's global state only: it is set, and given back.
        """
        state = np.random.SeedSequence((self.settings.seed, self.step, 1))
        seed = int(state.generate_state(1, np.uint64)[0] >> np.uint64(1))
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield self.noise.manual_seed(seed)

    def _needs_unlabelled(self) -> bool:
        used = self.settings.fixmatch.weight > 0 or self.settings.fixclr.weight > 0
        return used and self.settings.method != "supervised"

    def _report(self, losses: Losses, batch: Batch, rate: float) -> HistoryRow | None:
        self.history.add(losses, batch)
        self.row_images += len(batch.label_L) + len(batch.report_label_U)
        self.guards.update(losses, batch.domain_U)
        if not self.history.due(self.step, self.steps):
            return None
        seconds = time.perf_counter() - self.row_started
        row = self.history.close_row(
            self.step, learning_rate=rate, images_per_s=self.row_images / max(seconds, 1e-9)
        )
        self.row_started, self.row_images = time.perf_counter(), 0
        return row

    def save(self, path: Path) -> None:
        """Writes everything the next step depends on."""
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= self.averages.tensors()
        tensors |= {f"fixclr.{n}": t for n, t in self.fixclr.state_dict().items() if t.numel()}
        tensors |= {f"teacher.{n}": t for n, t in self.teacher.tensors().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors[f"momentum.{number}"] = state["momentum_buffer"]
        facts = {
            "step": self.step,
            "history": self.history.state(),
            "guards": self.guards.state(),
            "dropped": self.teacher.dropped,
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
        self.averages.restore(groups)
        self.fixclr.load_state_dict(groups.get("fixclr", {}), strict=False)
        self.teacher.restore(groups["teacher"], facts["dropped"])
        state = self.optimizer.state_dict()
        state["state"] = {
            int(n): {"momentum_buffer": t} for n, t in groups.get("momentum", {}).items()
        }
        self.optimizer.load_state_dict(state)
        self.step = facts["step"]
        self.history.restore(facts["history"])
        self.guards.restore(facts["guards"])
