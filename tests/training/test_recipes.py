"""Every recipe is made of settings that exist, after the protocol that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from redshank.config import load_settings
from redshank.layouts import LAYOUTS
from training.feasible import check_settings

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "training" / "recipes").glob("*.toml"))
SOURCES = {"pacs": 3, "office_home": 3, "digits_dg": 3, "imagenet_r": 14, "fmow_wilds": 5}
"""Domains that are left to train on."""


def test_there_is_one_for_each_data_set() -> None:
    assert {path.stem for path in RECIPES} == set(SOURCES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_follows_the_protocol(path: Path) -> None:
    settings = load_settings(path, environment={}).training
    check_settings(settings)
    assert (settings.backbone, settings.image_size) == ("resnet18", 224)
    assert settings.learning_rate == 0.003
    assert settings.learning_rate * settings.head_rate_factor == pytest.approx(0.01)
    assert settings.fixmatch.threshold == 0.95
    assert settings.labelled_per_step == settings.unlabelled_per_step == 16 * SOURCES[path.stem]
    assert settings.horizontal_flip == (path.stem != "digits_dg")
    assert settings.ema_decay == 0.0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_how_to_run_it_and_that_nobody_has(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Not run here." in text
    assert f"--config training/recipes/{path.name}" in text
    (layout,) = re.findall(r"--layout (\S+)", text)
    assert layout in LAYOUTS
    page = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    assert f"training/recipes/{path.name}" in page
