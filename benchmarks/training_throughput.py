"""Images a second of training: redshank's batches against a plain torchvision DataLoader.

    python -m benchmarks.training_throughput --cores 2

All train the same network on the same number of views a step: redshank; redshank's step with views
from the DataLoader (what the views cost); and a plain FixMatch loop over that DataLoader (what a
user would write). All ways take turns in short blocks, each after a few steps that are not timed,
and the ratio is the median over rounds. Then steps with and without FixCLR take
turns. CPU time (workers included) is given beside the wall time: it holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.training_peer import Form, LoaderBatches, PlainLoop
from redshank.settings import TrainingSettings
from training.data import TrainingData
from training.fit import Loop
from training.parts import initial_model

DOMAINS, CLASSES = 3, 10
WARM_STEPS = 5
FORMS: tuple[Form, ...] = ("pil", "tensor")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cores", type=int, default=2, help="threads of the training process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="steps a block")
    parser.add_argument("--pairs", type=int, default=150, help="blocks with and without FixCLR")
    parser.add_argument("--workers", type=int, default=2, help="most workers of the DataLoader")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--backbone", default="small_cnn")
    options = parser.parse_args()
    torch.set_num_threads(options.cores)
    settings = dataclasses.replace(
        TrainingSettings(), backbone=options.backbone, image_size=options.image_size, device="cpu"
    )
    data = random_data(options.image_size)
    print_views(settings, data, options.rounds, options.steps)
    print_throughput(settings, data, options.rounds, options.steps, options.workers)
    print_step_ratio(settings, data, options.pairs)


def random_data(side: int, images: int = 1800) -> TrainingData:
    """Smooth random pictures; every tenth is labelled."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(images, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    number_N = torch.arange(images)
    names = tuple(f"domain{number}" for number in range(DOMAINS))
    return TrainingData(
        classes=tuple(str(number) for number in range(CLASSES)),
        domains=names,
        source_domains=names,
        target_domains=(),
        images_NHW3=(smooth * 255).byte().permute(0, 2, 3, 1).contiguous(),
        label_N=torch.where(number_N % 10 == 0, number_N // 10 % CLASSES, -1),
        report_label_N=number_N // 10 % CLASSES,
        domain_N=(number_N % DOMAINS).numpy(),
        split_N=np.full(images, "train"),
    )


def new_loop(settings: TrainingSettings, data: TrainingData) -> Loop:
    """A training that never ends."""
    return Loop(data, settings, 10**6, torch.device("cpu"), None)


def peer_batches(
    settings: TrainingSettings, data: TrainingData, form: Form, workers: int
) -> LoaderBatches:
    """The plain pipeline with the batch sizes of the settings."""
    return LoaderBatches(
        data,
        labelled=settings.labelled_per_step,
        unlabelled=settings.unlabelled_per_step,
        form=form,
        workers=workers,
    )


def print_views(settings: TrainingSettings, data: TrainingData, rounds: int, steps: int) -> None:
    """Making views alone, both in the training process."""
    ours, peers = (
        new_loop(settings, data).batches,
        {form: peer_batches(settings, data, form, 0) for form in ("pil", "tensor")},
    )
    ways: dict[str, Callable[[int], object]] = {"redshank, batch": ours.batch}
    for form, peer in peers.items():
        ways[f"torchvision, one by one, {form}"] = peer.batch
    _print_table("views alone", ways, images_a_step(settings), rounds, steps)


def print_throughput(
    settings: TrainingSettings, data: TrainingData, rounds: int, steps: int, most_workers: int
) -> None:
    """Whole training steps."""
    peers = [(form, workers) for form in FORMS for workers in range(most_workers + 1)]
    ways: dict[str, Callable[[int], object]] = {}
    ours = new_loop(settings, data)
    ways["redshank"] = stepping(ours)
    for form, workers in peers:
        loop = new_loop(settings, data)
        loop.feed = peer_batches(settings, data, form, workers)
        ways[f"torchvision's views, {form}, {workers} workers"] = stepping(loop)
    for form, workers in peers:
        plain = PlainLoop(
            initial_model(data, settings), peer_batches(settings, data, form, workers), settings
        )
        ways[f"plain loop, {form}, {workers} workers"] = stepping(plain)
    _print_table("training", ways, images_a_step(settings), rounds, steps)


def stepping(loop: Loop | PlainLoop) -> Callable[[int], object]:
    """One step of the training, whatever its number."""
    return lambda _step: loop.advance()


def images_a_step(settings: TrainingSettings) -> int:
    """Images drawn a step; an unlabelled one is seen in two views."""
    return settings.labelled_per_step + settings.unlabelled_per_step


def _print_table(
    title: str,
    ways: dict[str, Callable[[int], object]],
    images: int,
    rounds: int,
    steps: int,
) -> None:
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall_s, cpu_s = _block(way, steps)
            wall[name].append(images * steps / wall_s)
            cpu[name].append(images * steps / cpu_s)
    first = next(iter(ways))
    print(f"\n| {title} | images/s | redshank's ratio | images a CPU s | redshank's ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name in ways:
        ratios = [
            statistics.median(a / b for a, b in zip(found[first], found[name], strict=True))
            for found in (wall, cpu)
        ]
        medians = [statistics.median(found[name]) for found in (wall, cpu)]
        print(
            f"| {name} | {medians[0]:,.0f} | {ratios[0]:.2f} | {medians[1]:,.0f} "
            f"| {ratios[1]:.2f} |",
            flush=True,
        )


def _block(way: Callable[[int], object], steps: int) -> tuple[float, float]:
    """Wall and CPU seconds of `steps` calls; workers fill their queues before and go idle after."""
    for step in range(WARM_STEPS):
        way(step)
    cpu_s, began = _cpu_s(), time.perf_counter()
    for step in range(steps):
        way(step)
    wall_s = time.perf_counter() - began
    cpu_s = _cpu_s() - cpu_s
    time.sleep(0.3)
    return wall_s, cpu_s


def _cpu_s() -> float:
    """CPU seconds of this process and its living children so far."""
    ticks = 0
    for pid in (os.getpid(), *_children()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        except OSError:
            continue
        ticks += sum(int(value) for value in fields.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def _children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text(encoding="utf-8").split()]
    return found


def print_step_ratio(settings: TrainingSettings, data: TrainingData, pairs: int) -> None:
    """FixMatch + FixCLR over FixMatch, by turns in blocks of four steps."""
    loops = []
    for weight in (0.0, 0.1):
        fixclr = dataclasses.replace(settings.fixclr, weight=weight, ramp_share=0.0)
        loops.append(new_loop(dataclasses.replace(settings, fixclr=fixclr), data))
    ratios = []
    for pair in range(pairs + 2):
        first, second = (0, 1) if pair % 2 else (1, 0)
        seconds = {number: _seconds(loops[number], 4) for number in (first, second)}
        if pair >= 2:
            ratios.append(seconds[1] / seconds[0])
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"\nStep time of FixMatch + FixCLR over FixMatch: {middle:.3f} "
        f"(quartiles {low:.3f} to {high:.3f}, {pairs} pairs of blocks)"
    )


def _seconds(loop: Loop, steps: int) -> float:
    began = time.process_time()
    for _ in range(steps):
        loop.advance()
    return time.process_time() - began


if __name__ == "__main__":
    main()
