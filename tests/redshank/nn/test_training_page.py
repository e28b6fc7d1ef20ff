"""docs/training.md names what there is, and its example runs."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

from redshank.nn import BASE_METHODS
from redshank.settings import AdaptiveSettings, FixCLRSettings, TargetSettings, TrainingSettings

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = DOCS / "training.md"


def test_example_of_the_page_runs_and_learns() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    assert names["accuracy"] == 1.0


def test_settings_and_page_know_every_base_method() -> None:
    hint = typing.get_type_hints(TrainingSettings)["method"]
    assert set(typing.get_args(hint)) == set(BASE_METHODS)
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in BASE_METHODS if f"| `{name}`" not in text] == []


def test_pages_name_every_switch() -> None:
    text = PAGE.read_text(encoding="utf-8") + (DOCS / "fixclr.md").read_text(encoding="utf-8")
    kinds = (AdaptiveSettings, FixCLRSettings, TargetSettings)
    keys = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    assert [key for key in keys if not re.search(rf"[`.]{key}\b", text)] == []
