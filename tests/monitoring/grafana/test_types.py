"""The dashboards against Grafana's published types, by the TypeScript compiler.

Installs two packages of fixed versions from the registry into var/node, once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from monitoring.grafana.dashboard import all_dashboards

SCHEMA, COMPILER = "13.2.3", "5.9.3"
CACHE = Path(__file__).parents[3] / "var" / "node" / f"grafana-{SCHEMA}-typescript-{COMPILER}"
OPTIONS = {
    "strict": True,
    "noEmit": True,
    "skipLibCheck": True,
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "types": [],
}
HEAD = """
import type { AnnotationQuery, Dashboard, DataQuery } from '@grafana/schema';
// Values of JSON: an enumeration is one of its texts.
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
// What Prometheus' plug-in adds to an annotation is in no published type.
type Moment = AnnotationQuery & {
  target: DataQuery & { expr: string; interval: string };
  useValueForTime: boolean; titleFormat: string; textFormat: string;
};
type Ours = Plain<Omit<Dashboard, 'annotations'> & { annotations: { list: Moment[] } }>;
export const made: Ours = """


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder of the installed packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed (Debian: nodejs, npm)")
    if not (CACHE / "done").is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        names = [f"@grafana/schema@{SCHEMA}", f"typescript@{COMPILER}"]
        quiet = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(CACHE)]
        done = subprocess.run(
            ["npm", "install", *quiet, *names], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"npm cannot install the types here: {(done.stderr or 'no word')[-200:]}")
        (CACHE / "done").touch()
    return CACHE / "node_modules"


def complaints(packages: Path, folder: Path, boards: dict[str, dict[str, Any]]) -> str:
    """What the compiler says about some dashboards; empty when all is well."""
    (folder / "node_modules").symlink_to(packages)
    for name, board in boards.items():
        (folder / f"{name}.ts").write_text(HEAD + json.dumps(board, indent=1) + ";\n")
    config = {"compilerOptions": OPTIONS, "files": [f"{name}.ts" for name in boards]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    compiler = packages / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        ["node", str(compiler), "-p", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout


def test_the_dashboards_fit_grafanas_types(packages: Path, tmp_path: Path) -> None:
    boards = {dashboard.uid: dashboard.as_json() for dashboard in all_dashboards()}
    assert complaints(packages, tmp_path, boards) == ""


def test_wrong_dashboards_are_noticed(packages: Path, tmp_path: Path) -> None:
    board = all_dashboards()[1].as_json()
    panel, moment = board["panels"][0], board["annotations"]["list"][0]
    bare = {name: value for name, value in panel.items() if name != "type"}
    colour = {**panel, "fieldConfig": {"defaults": {"color": {"mode": "rainbow"}}}}
    mode = {**panel, "fieldConfig": {"defaults": {"thresholds": {"mode": "x", "steps": []}}}}
    wrong = {
        "version": {**board, "schemaVersion": "42"},
        "tooltip": {**board, "graphTooltip": 9},
        "number": {**board, "panels": [{**panel, "id": "a"}]},
        "untyped": {**board, "panels": [bare]},
        "height": {**board, "panels": [{**panel, "gridPos": {"w": 1, "x": 0, "y": 0}}]},
        "colour": {**board, "panels": [colour]},
        "mode": {**board, "panels": [mode]},
        "name": {**board, "tittle": "x"},
        "moment": {**board, "annotations": {"list": [{**moment, "enable": "yes"}]}},
    }
    found = complaints(packages, tmp_path, wrong)
    assert {name for name in wrong if f"{name}.ts(" in found} == wrong.keys(), found
