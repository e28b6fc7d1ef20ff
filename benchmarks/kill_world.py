"""The small world of `kill_ring`: digits, one trained and published model, pictures of four sites.

It is made once by the demo's own first three steps and copied for each run.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from demo.console import Console
from demo.plan import HARMED, MODEL, SMALL
from demo.processes import free_port
from demo.settings_file import write_settings
from demo.steps_field import photograph_field
from demo.steps_healing import probes_of
from demo.steps_model import build_data, export_model, train_model
from demo.summary import Summary
from demo.turn import Turn
from demo.uploads import Service, Upload
from demo.workspace import Workspace, fresh_workspace

FLUSH_S = 1.0
"""`serving.flush_s`: the default, not the demo's shorter one."""
WORKERS = 2
LEASE_S = 5.0
MAX_ATTEMPTS = 50


@dataclass(frozen=True)
class Arena:
    """One run's own home: a copy of the world, with settings of its own."""

    home: Path
    options: tuple[str, ...]
    """`--config` and `--set` of every verb."""
    port: int

    @property
    def log_folder(self) -> Path:
        """Output of the programs."""
        return self.home / "logs"


def prepare_world(root: Path) -> Turn:
    """Build, train, export and publish, unless an earlier call did."""
    workspace = Workspace(root.resolve())
    if not (workspace.root / "models" / MODEL / "release.json").is_file():
        with fresh_workspace(root) as workspace:
            write_settings(workspace, SMALL)
            turn = _turn(workspace)
            build_data(turn)
            export_model(turn, train_model(turn))
    return _turn(workspace)


def photograph_sites(turn: Turn) -> tuple[dict[str, list[Upload]], dict[str, list[Upload]]]:
    """Pictures by site: while all is well, and after two sites changed."""
    streams = photograph_field(turn).streams
    well = {name: [u for u in stream if not u.severity] for name, stream in streams.items()}
    return well, {name: probes_of(stream) for name, stream in streams.items()}


def make_arena(world: Path, home: Path, *, seed: int) -> Arena:
    """Copy the world's models to `home`; what an earlier run left there is deleted."""
    if home.exists():
        shutil.rmtree(home)
    for name in ("runs", "bundles", "models"):
        shutil.copytree(world / name, home / name)
    port = free_port()
    values = {
        "home.root": home,
        "serving.port": port,
        "serving.workers": WORKERS,
        "serving.flush_s": FLUSH_S,
        "monitoring.tick_s": 1.0,
        "monitoring.burn_in_scenes": 80,
        "monitoring.port": free_port(),
        "training.held_out": "off",
        "training.seed": seed,
        "training.checkpoint_every": 20,
        "training.threads": 1,
        "retraining.steps": 100,
        "retraining.min_images": 40,
        "retraining.lease_s": LEASE_S,
        "retraining.cooldown_s": 1.0,
        "retraining.max_attempts": MAX_ATTEMPTS,
        # crashes are looked for, not good models: most challengers shall get to their release
        "retraining.gates.accuracy_margin": 0.3,
        "retraining.gates.entropy_drop": 0.5,
    }
    options = ["--config", str(world / "redshank.toml")]
    for name, value in values.items():
        options += ["--set", f"{name}={value}"]
    return Arena(home, tuple(options), port)


def _turn(workspace: Workspace) -> Turn:
    return Turn(workspace, SMALL, Console(sys.stderr), Service(0), Summary())


__all__ = ["HARMED", "MODEL", "Arena", "make_arena", "photograph_sites", "prepare_world"]
