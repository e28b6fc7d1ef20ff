"""What a Bento carries beside the code: one bundle, and the settings it was packed with.

packed/environment.json        REDSHANK_<SECTION>__<KEY> -> value, the environment overrides them
packed/bundles/<id>/           the bundle that answers until a release says otherwise
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from redshank.config import load_settings
from redshank.errors import ConfigError
from redshank.files import publish_folder, read_json
from redshank.registry import Registry
from redshank.settings import Settings

FOLDER = Path(__file__).resolve().parents[1] / "packed"
"""In a Bento; a checkout has none."""
ENVIRONMENT = "environment.json"
BUNDLES = "bundles"
LOCK = "packed.lock"
HOME = "redshank-home"
"""Where state goes, beside the code, unless `REDSHANK_HOME__ROOT` names a volume."""


def packed_settings(environment: Mapping[str, str], folder: Path = FOLDER) -> Settings:
    """The settings of a server that starts from a Bento; its first start lays the home out.

    Raises:
        ConfigError: the environment names an unknown key or a wrong value.
    """
    settings = _resolved(environment, folder)
    home = replace(settings.home, root=str(Path(settings.home.root).absolute()))
    settings = replace(settings, home=home)
    home.path(".").mkdir(parents=True, exist_ok=True)
    registry = Registry(home.path("models"), home.path("bundles"))
    with home.path(LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers start together
        if not registry.release_path(settings.serving.model).is_file():
            _lay_out(registry, folder)
    return settings


def packed_workers(environment: Mapping[str, str], folder: Path = FOLDER) -> int:
    """How many processes a Bento starts; 1 in a checkout, where `redshank serve` says it itself.

    Raises:
        ConfigError: as `packed_settings`, or the number is below 1.
    """
    if not folder.is_dir():
        return 1
    workers = _resolved(environment, folder).serving.workers
    if workers < 1:
        raise ConfigError(f"serving.workers is {workers}, expected 1 or more")
    return workers


def _resolved(environment: Mapping[str, str], folder: Path) -> Settings:
    """What was packed, and the environment over it."""
    packed: dict[str, str] = read_json(folder / ENVIRONMENT)
    own = {"REDSHANK_HOME__ROOT": str(folder.parent / HOME)}
    return load_settings(environment=own | packed | dict(environment))


def _lay_out(registry: Registry, folder: Path) -> None:
    """Publish the packed bundle."""
    for packed in sorted((folder / BUNDLES).iterdir()):
        target = registry.bundle_path(packed.name)
        if not target.exists():
            with publish_folder(target) as scratch:
                shutil.copytree(packed, scratch, dirs_exist_ok=True)
        registry.publish(packed.name, actor="bento", reason="packed", at_s=time.time())
