"""The whole bench, from top to bottom: what is to be trained, train it, sum it up."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redshank.dataset import Manifest, write_manifest
from redshank.errors import ConfigError, RedshankError, UsageError
from redshank.files import to_json, write_atomic
from redshank.records import as_dict

from .cells import Cell, CellPlan, data_digest, find_cell
from .protocol import choose_targets
from .schedule import choose_slots, cuda_devices, train_cells
from .table import Table, build_table
from .table_text import as_markdown, as_text
from .variants import AS_ASKED, Variant
from .worker import WORK, Answer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What a table is about."""

    variants: tuple[Variant, ...]
    targets: tuple[str, ...]
    """Empty: all domains with labels."""
    labels_per_class: tuple[int | None, ...]
    """None: all labels."""
    seeds: tuple[int, ...]
    against: tuple[str, ...] = ()
    """Methods that others are compared with; empty: all with all."""


def plan_cells(question: Question, images: Manifest, targets: Sequence[str]) -> list[CellPlan]:
    """All cells of a table; a seed of every row comes before the next seed.

    Raises:
        ConfigError: nothing is asked for, or a seed is below 0.
        UsageError: comparisons are wanted with a method that is not in the table.
    """
    if not question.seeds or not question.labels_per_class or not question.variants:
        raise ConfigError("a bench needs at least one method, one seed and one number of labels")
    if min(question.seeds) < 0:
        raise ConfigError(f"the first seed is {min(question.seeds)}, expected at least 0")
    names = [variant.name for variant in question.variants]
    for name in question.against:
        if name not in names:
            raise UsageError(
                f"method {name!r} to compare with is not in the table",
                hint=f"Add it to --methods: {', '.join(names)}.",
            )
    data = data_digest(images)
    plans: dict[tuple[str, int | None, str, int], CellPlan] = {}
    for seed in question.seeds:
        for labels in question.labels_per_class:
            for target in targets:
                for variant in question.variants:
                    own = labels
                    if variant.labels_per_class != AS_ASKED:
                        own = variant.labels_per_class
                    settings = dataclasses.replace(variant.settings, seed=seed)
                    plan = CellPlan(variant.name, target, own, seed, data, settings)
                    plans.setdefault((variant.name, own, target, seed), plan)
    return list(plans.values())


def run_bench(
    images: Manifest,
    out: Path,
    question: Question,
    *,
    jobs: int | None,
    keep_runs: bool,
    only_table: bool,
    say: Say,
) -> tuple[Table, int]:
    """Trains what is missing in `out`, writes the table there and returns it.

    Args:
        images: everything that is known, with all labels.
        out: folder of cells and tables; a bench that was killed goes on in it.
        question: methods, targets, labels and seeds.
        jobs: worker processes; None: one a CUDA device, else one a core.
        keep_runs: keep each training's run folder in `out/runs`.
        only_table: train nothing.
        say: gets a line for every cell.

    Returns:
        The table, and the number of cells that failed.
    """
    targets = choose_targets(images, question.targets)
    plans = plan_cells(question, images, targets)
    failures = 0
    if not only_table:
        missing = [plan for plan in plans if find_cell(out, plan) is None]
        say(f"{len(plans)} cells, {len(plans) - len(missing)} finished")
        if missing:
            _check(question.variants)
            failures = _train(missing, images, out, jobs=jobs, keep_runs=keep_runs, say=say)
    table = _sum_up(plans, out, question, targets)
    write_atomic(out / "table.txt", f"{as_text(table)}\n".encode())
    write_atomic(out / "table.md", f"{as_markdown(table)}\n".encode())
    write_atomic(out / "table.json", to_json(as_dict(table)))
    return table, failures


def _check(variants: Sequence[Variant]) -> None:
    """Refuses what cannot work before the first training, not when its turn comes.

    Raises:
        RedshankError: as `check_settings`, with the method's name.
    """
    from training.feasible import check_settings  # brings torch, which a table alone does not need

    for variant in variants:
        try:
            check_settings(variant.settings)
        except RedshankError as error:
            error.message = f"method {variant.name}: {error.message}"
            raise


def _train(
    plans: Sequence[CellPlan],
    images: Manifest,
    out: Path,
    *,
    jobs: int | None,
    keep_runs: bool,
    say: Say,
) -> int:
    settings = plans[0].settings
    slots = choose_slots(
        settings.device,
        jobs=jobs,
        threads=settings.threads,
        cells=len(plans),
        cuda=() if settings.device == "cpu" else cuda_devices(),
        cores=len(os.sched_getaffinity(0)),
    )
    path = out / WORK / f"images-{plans[0].data[:12]}.jsonl"
    write_manifest(path, root=str(images.root), classes=images.classes, items=images.items)
    done, failures, started_s = 0, 0, time.monotonic()

    def report(plan: CellPlan, answer: Answer) -> None:
        nonlocal done, failures
        if answer.state == "busy":
            say(f"{_name(plan)}: another bench trains it now")
            return
        done += 1
        failures += answer.state == "failed"
        left = _left(time.monotonic() - started_s, done, len(plans))
        say(f"{done} of {len(plans)}: {_name(plan)}: {_outcome(plan, answer, out)}{left}")

    command = [str(path), str(out), *(["--keep-runs"] if keep_runs else [])]
    train_cells(plans, command, slots, report)
    if not failures:
        _clean(out / WORK)
    return failures


def _clean(work: Path) -> None:
    """Deletes decoded pixels and the like, unless another bench of this folder needs them."""
    if not any(work.glob("*.lock")):
        for path in work.iterdir():
            if path.is_file():
                path.unlink(missing_ok=True)


def _outcome(plan: CellPlan, answer: Answer, out: Path) -> str:
    cell = find_cell(out, plan) if answer.state == "done" else None
    if cell is None or cell.test.accuracy is None:
        return f"failed: {answer.message}"
    return f"{100 * cell.test.accuracy:.1f} %, {cell.seconds:.0f} s"


def _left(passed_s: float, done: int, count: int) -> str:
    """How long the rest will take at the pace so far."""
    minutes = round(passed_s / done * (count - done) / 60)
    if done == count:
        return ""
    hours, minutes = divmod(minutes, 60)
    return f"; about {f'{hours} h ' if hours else ''}{minutes} min left"


def _name(plan: CellPlan) -> str:
    labels = "all labels" if plan.labels_per_class is None else f"{plan.labels_per_class} labels"
    return f"{plan.method}, {labels}, unseen {plan.target}, seed {plan.seed}"


def _sum_up(
    plans: Sequence[CellPlan], out: Path, question: Question, targets: Sequence[str]
) -> Table:
    found: dict[tuple[str, int | None], dict[tuple[str, int], Cell]] = {}
    for plan in plans:
        row = found.setdefault((plan.method, plan.labels_per_class), {})
        cell = find_cell(out, plan)
        if cell is not None:
            row[plan.target, plan.seed] = cell
    return build_table(
        found,
        targets,
        question.seeds,
        against=question.against,
        fixed=[v.name for v in question.variants if v.labels_per_class != AS_ASKED],
    )
