"""The live bundle and all that serves it, as a Bento: no torch, nothing else of the checkout.

<out>/bentos/redshank/<bundle id>/    `bentoml serve` starts it, `bentoml containerize` wraps it
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from redshank.bundle import read_bundle
from redshank.errors import ConflictError, InputError, StageError
from redshank.files import to_json, write_atomic
from redshank.records import as_dict
from redshank.registry import Registry
from redshank.settings import ServingSettings, Settings

from .launch import CHECKOUT, SERVICE
from .packed import BUNDLES, ENVIRONMENT

PARTS = ("redshank", "serving", "LICENSE", "README.md")
EXTRAS = ("serve", "cpu")
OF_THE_MACHINE = ("host", "port", "tokens_file")
"""Settings that belong to where a server runs, not to what it is."""


def build_bento(settings: Settings, out: Path) -> Path:
    """Pack the live bundle of `serving.model`; returns the Bento's folder.

    Args:
        settings: `[serving]` travels with the Bento, but for address and tokens.
        out: a BentoML home; it is made where it is missing.

    Raises:
        InputError: the model has no release.
        IntegrityError: its bundle is damaged.
        ConflictError: this bundle was packed there before.
        StageError: BentoML failed.
    """
    registry = Registry(settings.home.path("models"), settings.home.path("bundles"))
    bundle = registry.read(settings.serving.model).live
    target = out.absolute() / "bentos" / "redshank" / bundle.lower()
    if target.exists():
        raise ConflictError(
            f"{target} is there already", hint="Delete it, or give another folder with --bento."
        )
    read_bundle(registry.bundle_path(bundle))
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        _copy_code(context)
        shutil.copytree(registry.bundle_path(bundle), context / "packed" / BUNDLES / bundle)
        write_atomic(
            context / "packed" / ENVIRONMENT, to_json(packed_environment(settings.serving))
        )
        write_atomic(context / "bentofile.yaml", _bentofile(settings.serving.model, bundle))
        _run_bentoml(context, out.absolute(), bundle.lower())
    if not target.is_dir():
        raise StageError(f"BentoML made no {target}")
    return target


def packed_environment(serving: ServingSettings) -> dict[str, str]:
    """The `[serving]` settings that are not the default, as environment variables.

    The address is BentoML's (`--host`, by default every interface, which asks for a tokens file).
    """
    default = as_dict(ServingSettings())
    return {
        f"REDSHANK_SERVING__{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in as_dict(serving).items()
        if value != default[name] and name not in OF_THE_MACHINE
    }


def requirements() -> list[str]:
    """What the service imports, pinned to what is installed here.

    Raises:
        InputError: a package of the service is not installed.
    """
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    return sorted({_pinned(Requirement(line).name) for line in wanted} | set(_below("bentoml")))


def _pinned(package: str) -> str:
    try:
        return f"{package}=={version(package)}"
    except PackageNotFoundError as error:
        raise InputError(
            f"{package} is not installed, the Bento needs its version",
            hint="Install the extras `serve` and `cpu` (not `gpu`), then pack again.",
        ) from error


def _below(package: str) -> Iterator[str]:
    """Direct requirements of a package, pinned as well: it is known to be picky."""
    for line in requires(package) or []:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield _pinned(need.name)


def _copy_code(context: Path) -> None:
    leave_out = shutil.ignore_patterns("__pycache__", "nn", "*.pyc")
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            shutil.copytree(source, context / part, ignore=leave_out)
        else:
            shutil.copy(source, context / part)


def _bentofile(model: str, bundle: str) -> bytes:
    """JSON, which is YAML too."""
    content: dict[str, Any] = {
        "service": SERVICE,
        "description": f"redshank: model {model}, bundle {bundle}",
        "labels": {"model": model, "bundle": bundle},
        "include": [*(f"{part}/**" for part in ("redshank", "serving", "packed")), "LICENSE"],
        "python": {"packages": requirements(), "lock_packages": False},
    }
    return to_json(content)


def _run_bentoml(context: Path, home: Path, name: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bentoml", "build", "--version", name, str(context)]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(context),  # pip leaves a cache there
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": str(context),
    }
    done = subprocess.run(
        command, cwd=context, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise StageError("`bentoml build` failed:\n" + "\n".join(last))
