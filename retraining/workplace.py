"""What the steps of a healing work with: stores, folders, rules, clock. No flow in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redshank.fieldstore import FieldStore
from redshank.files import Clock
from redshank.healing import Healing, State
from redshank.registry import Registry
from redshank.run import BackboneSpec
from redshank.settings import RetrainingSettings
from redshank.store.control import ControlStore
from redshank.store.control_lease import Lease

ACTOR = "retraining loop"
"""Name of the loop in the audit trail and in releases."""


@dataclass(frozen=True)
class Workplace:
    """Everything outside a healing that its steps touch."""

    store: ControlStore
    registry: Registry
    field: FieldStore
    runs: Path
    snapshots: Path
    spool: Path
    logs: Path
    """`<logs>/<healing_id>/training.log` and `export.log`."""
    model: str
    """Model of scheduled triggers; other triggers name their own."""
    rules: RetrainingSettings
    program: tuple[str, ...]
    """The command that `train` and `export` are verbs of."""
    options: tuple[str, ...]
    """`--config` and `--set` of the loop, handed on to both."""
    clock: Clock
    say: Callable[[str], None]
    """Takes one line for people."""
    precision: str = "fp32"
    """In which bundles answer, as `serving.precision`."""


@dataclass(frozen=True)
class Hold:
    """The right to work: the lease, and when to stop."""

    lease: Lease
    stop: Callable[[], bool]
    """True when the loop was asked to end, or its lease is lost."""


def training_command(
    place: Workplace, manifest: Path, champion_run: Path, network: BackboneSpec
) -> tuple[str, ...]:
    """`redshank train` on a snapshot, from the champion's weights and with its network.

    `--resume` goes on from a checkpoint of the same snapshot, if there is one. Held-out folds are
    not trained again: the run inherits its parent's.
    """
    values = {
        "training.steps": str(place.rules.steps),
        "training.held_out": "off",
        "training.backbone": network.name,
        "training.image_size": str(network.image_size),
    }
    if network.width:
        values["training.width"] = str(network.width)
    fixed = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    parent = ("--parent", str(champion_run))
    return (*place.program, "train", str(manifest), *parent, "--resume", *place.options, *fixed)


def export_command(place: Workplace, run: Path, champion: str, *, model: str) -> tuple[str, ...]:
    """`redshank export` of the challenger's run."""
    return (
        *place.program,
        "export",
        str(run),
        "--parent-bundle",
        champion,
        *place.options,
        "--set",
        f"export.model={model}",
    )


def move(
    place: Workplace, healing: Healing, hold: Hold, new: State, reason: str, **changes: Any
) -> Healing:
    """One transition of the loop, told to people."""
    moved = place.store.transition(
        healing, new, reason=reason, actor=ACTOR, lease=hold.lease, **changes
    )
    place.say(f"{healing.healing_id}: {healing.state} -> {new}, {reason}")
    return moved
