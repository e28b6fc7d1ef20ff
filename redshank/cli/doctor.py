"""Check this machine, its packages and the checkout; every finding says what to do about it.

Exit status 3 when something that a stage needs is missing or two packages exclude each other.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from redshank import __version__
from redshank.cli import print_json
from redshank.settings import Settings

EXTRAS = {
    "train": ("torch", "torchvision", "safetensors", "tqdm"),
    "export": ("onnx", "onnxscript"),
    "serve": ("bentoml", "starlette", "uvloop", "httptools", "orjson", "python-multipart"),
    "watch": ("prometheus-client", "sqlalchemy", "cronsim", "jinja2"),
    "demo": ("mlxtend", "scikit-image", "scikit-learn", "matplotlib"),
    "remote": ("fsspec", "aiohttp"),
    "parquet": ("pyarrow",),
}
STAGES = ("training", "export", "serving", "monitoring", "retraining", "demo")
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "chromium", "initdb")
WAL_FIXED = (3, 51, 3)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Literal["ok", "note", "missing"]
    subject: str
    sentence: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `redshank doctor`."""
    parser.add_argument("--json", action="store_true", help="print findings as JSON")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Print every finding; 3 when something is missing."""
    findings = list(examine(settings))
    if options.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.level:8}{finding.subject:24}{finding.sentence}")
    return 3 if any(finding.level == "missing" for finding in findings) else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, cheapest first."""
    yield Finding("ok", "redshank", f"{__version__} on Python {platform.python_version()}")
    yield from _packages()
    yield from _onnxruntime()
    yield from _tensorrt(settings.serving.engine)
    yield from _devices()
    yield from _stages()
    yield _sqlite()
    yield from _programs()
    yield _home(Path(settings.home.root))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        lost = [package for package, version in versions.items() if version is None]
        if lost:
            hint = f"{', '.join(lost)} missing: pip install 'redshank[{extra}]'"
            yield Finding("note", f"extra {extra}", hint)
        else:
            found = ", ".join(f"{package} {version}" for package, version in versions.items())
            yield Finding("ok", f"extra {extra}", found)


def _onnxruntime() -> Iterator[Finding]:
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    if cpu and gpu:
        sentence = (
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other's files: "
            "pip uninstall both, then install one of the extras cpu and gpu"
        )
        yield Finding("missing", "onnxruntime", sentence)
    elif not cpu and not gpu:
        yield Finding("missing", "onnxruntime", "none: install the extra cpu or gpu")
    else:
        yield Finding("ok", "onnxruntime", f"{cpu or gpu} ({'cpu' if cpu else 'gpu'})")


def _tensorrt(engine: str) -> Iterator[Finding]:
    """Versions that fit each other, and what `serving.engine = tensorrt` would lack."""
    from redshank.tensorrt_engine import OLDEST, is_too_old

    names = ("tensorrt-cu13", "tensorrt-cu12", "tensorrt")
    tensorrt = next((v for name in names if (v := _version(name))), None)
    gpu = _version("onnxruntime-gpu")
    linked = linked_tensorrt() if gpu else None
    if tensorrt and is_too_old(tensorrt):
        oldest = ".".join(map(str, OLDEST))
        yield Finding("note", "tensorrt", f"{tensorrt} is too old for plans, from {oldest} on")
    elif tensorrt and linked and tensorrt.partition(".")[0] != linked:
        sentence = (
            f"{tensorrt} does not fit onnxruntime-gpu {gpu}, which links TensorRT {linked}: "
            f"pip install 'tensorrt-cu13=={linked}.*'"
        )
        yield Finding("note", "tensorrt", sentence)
    elif tensorrt:
        yield Finding("ok", "tensorrt", tensorrt)
    needed = {"tensorrt": tensorrt or _version("tensorrt-rtx-cu13")}
    needed["cuda-bindings"] = _version("cuda-bindings")
    lost = [name for name, version in needed.items() if version is None]
    if engine == "tensorrt" and lost:
        sentence = (
            f"tensorrt is set, {' and '.join(lost)} missing, so ONNX Runtime answers: "
            "pip install 'redshank[gpu]'"
        )
        yield Finding("note", "serving.engine", sentence)


def linked_tensorrt(folder: Path | None = None) -> str | None:
    """Major version of TensorRT that the installed onnxruntime links; None when it links none.

    Args:
        folder: with onnxruntime's libraries; None: where it is installed.
    """
    if folder is None:
        spec = importlib.util.find_spec("onnxruntime")
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent / "capi"
    library = folder / "libonnxruntime_providers_tensorrt.so"
    found = (
        re.search(rb"libnvinfer\.so\.(\d+)", library.read_bytes()) if library.is_file() else None
    )
    return found[1].decode() if found else None


def _devices() -> Iterator[Finding]:
    if Path("/proc/driver/nvidia/version").exists():
        yield Finding("ok", "nvidia driver", "found")
    else:
        yield Finding("note", "nvidia driver", "none: training, export and serving use the CPU")


def _stages() -> Iterator[Finding]:
    checkout = Path(__file__).resolve().parents[2]
    for stage in STAGES:
        spec = importlib.util.find_spec(stage)
        if spec is None or spec.origin is None:
            sentence = "not here: run redshank inside its checkout or image"
            yield Finding("note", f"stage {stage}", sentence)
        elif not Path(spec.origin).is_relative_to(checkout):
            sentence = f"another package owns the name: {spec.origin}"
            yield Finding("missing", f"stage {stage}", sentence)
        else:
            yield Finding("ok", f"stage {stage}", "from this checkout")


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info < WAL_FIXED:
        sentence = "has the WAL race with two writers: redshank keeps one writer a file"
        return Finding("note", f"sqlite {sqlite3.sqlite_version}", sentence)
    return Finding("ok", f"sqlite {sqlite3.sqlite_version}", "fine")


def _programs() -> Iterator[Finding]:
    for program in PROGRAMS:
        found = shutil.which(program) or next(
            iter(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))), None
        )
        sentence = found or "not found: its tests are skipped"
        yield Finding("ok" if found else "note", program, sentence)


def _home(root: Path) -> Finding:
    folder = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free_gb = shutil.disk_usage(folder).free / 1e9
    level: Literal["ok", "note"] = "ok" if free_gb > 2 else "note"
    return Finding(level, "home", f"{root} with {free_gb:.1f} GB free, {sys.platform}")
