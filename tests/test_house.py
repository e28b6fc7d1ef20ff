"""House rules that no tool checks: sizes, names, stages that start without training's stack."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("training", "export", "serving", "monitoring", "retraining", "demo")
SOURCES = [
    path
    for top in ("redshank", *STAGES, "benchmarks", "tests", "docs")
    for path in sorted((ROOT / top).rglob("*.py"))
]
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
SAYS_NOTHING = {"utils", "helpers", "common", "misc", "onnx", "tensorrt", "torch"}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_name_resolves_inside_this_checkout(stage: str) -> None:
    spec = importlib.util.find_spec(stage)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT), f"{stage!r} is owned by {spec.origin}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_functions_fit_on_a_screen(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert path.stem not in SAYS_NOTHING
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize(
    "module", ["serving.service", "monitoring.watch", "retraining.loop", "redshank.cli"]
)
def test_module_starts_without_the_training_stack(module: str) -> None:
    heavy = ("torch", "torchvision", "onnx", "redshank.nn")
    found = f"[name for name in {heavy} if name in sys.modules]"
    code = f"import sys, {module}; sys.exit(str({found}) if {found} else 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def _run_linter(pyproject: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(program), "--config", str(pyproject), "--no-cache"],
        cwd=pyproject.parent,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(pyproject.parent), "PATH": "/usr/bin:/bin"},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("serving/planted.py", "import torch", "serving and watching never load torch"),
        ("monitoring/planted.py", "import retraining", "stages never meet"),
        ("retraining/planted.py", "import sqlalchemy", "only the stores know SQL"),
        ("training/planted.py", "import bentoml", "only serving knows BentoML"),
        ("redshank/planted.py", "import training", "the library never reaches into a stage"),
        ("redshank/nn/fixclr.py", "import numpy", "the losses need torch and nothing else"),
        ("redshank/bundle.py", "import sqlalchemy", "contracts need little more than Python"),
        ("redshank/files.py", "import redshank.bundle", "layers from the command"),
    ],
)
def test_planted_import_breaks_its_contract(
    tmp_path: Path, file: str, line: str, contract: str
) -> None:
    for top in ("redshank", *STAGES):
        for path in (ROOT / top).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    with (tmp_path / file).open("a") as planted:
        planted.write(f"\n{line}\n")
    result = _run_linter(tmp_path / "pyproject.toml")
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [row for row in result.stdout.splitlines() if " BROKEN" in row]
    assert any(contract in row for row in broken), result.stdout
