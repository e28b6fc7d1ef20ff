from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from redshank.dataset import Item, Manifest
from redshank.errors import ConfigError, InputError, UsageError
from redshank.settings import TrainingSettings
from training.bench.protocol import choose_targets
from training.bench.run import Question, _left, plan_cells
from training.bench.variants import choose_variants

DOMAINS = ("east", "north", "south")
IMAGES = Manifest(("cat",), Path("/"), tuple(Item(f"{name}.png", name, "cat") for name in DOMAINS))
FIELD = Item("f.png", "field")


def question(
    labels: tuple[int | None, ...] = (5, None), seeds: tuple[int, ...] = (0, 1)
) -> Question:
    names = ["fixmatch", "supervised-all-labels"]
    return Question(choose_variants(names, {}, TrainingSettings()), (), labels, seeds)


def test_cells_are_methods_times_targets_times_labels_times_seeds() -> None:
    plans = plan_cells(question(), IMAGES, DOMAINS)
    assert len(plans) == 2 * 3 * 2 + 2 * 3
    rows = {(plan.method, plan.labels_per_class) for plan in plans}
    assert rows == {("fixmatch", 5), ("fixmatch", None), ("supervised-all-labels", None)}
    assert {plan.settings.seed == plan.seed for plan in plans} == {True}
    assert [plan.seed for plan in plans] == sorted(plan.seed for plan in plans)
    assert len({plan.name for plan in plans}) == len(plans)


def test_a_question_without_an_answer_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one method, one seed"):
        plan_cells(question(labels=()), IMAGES, DOMAINS)
    with pytest.raises(ConfigError, match="first seed is -1"):
        plan_cells(question(seeds=(-1, 0)), IMAGES, DOMAINS)
    with pytest.raises(UsageError, match="'fixmatsch' to compare with is not in the table"):
        plan_cells(dataclasses.replace(question(), against=("fixmatsch",)), IMAGES, DOMAINS)


def test_targets_are_domains_with_labels() -> None:
    images = Manifest(("cat",), Path("/"), (*IMAGES.items, FIELD))
    assert choose_targets(images, ()) == DOMAINS
    assert choose_targets(images, ["south"]) == ("south",)
    with pytest.raises(InputError, match="domain 'field' is not in the data, or has no labels"):
        choose_targets(images, ["field"])
    with pytest.raises(InputError, match="expected at least 2"):
        choose_targets(Manifest(("cat",), Path("/"), IMAGES.items[:1]), ())


def test_time_left() -> None:
    assert _left(600.0, 2, 4) == "; about 10 min left"
    assert _left(600.0, 1, 14) == "; about 2 h 10 min left"
    assert _left(600.0, 4, 4) == ""


def test_the_parent_process_starts_without_torch() -> None:
    code = "import sys, training.bench.run, training.bench.table_text, redshank.cli.bench\n"
    code += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
