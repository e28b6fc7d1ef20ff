"""The demo's `redshank.toml`: months become minutes, and what passes the gates is published."""

import json
from typing import Any

from redshank.files import write_atomic

from .plan import MODEL, Plan
from .processes import free_port
from .workspace import Workspace


def write_settings(workspace: Workspace, plan: Plan) -> int:
    """Write the settings of every verb; returns the port that the service will listen on."""
    port = free_port()
    sections: dict[str, dict[str, Any]] = {
        "home": {"root": str(workspace.root)},
        "training": {
            "steps": plan.train_steps,
            "width": plan.width,
            "held_out": "short",
            "held_out_steps": plan.held_out_steps,
            "seed": plan.seed,
        },
        "export": {"model": MODEL},
        "serving": {
            "model": MODEL,
            "port": port,
            "poll_s": 0.2,
            "flush_s": 0.2,
            "capture_domains": [site.name for site in plan.sites()],
        },
        "monitoring": {
            "tick_s": 0.5,
            "burn_in_scenes": plan.burn_in_scenes,
            "port": free_port(),
        },
        "retraining": {
            "mode": "auto",
            "poll_s": 0.5,
            "min_images": plan.after_onset // 3,
            "steps": plan.heal_steps,
        },
        "retraining.gates": {"accuracy_margin": plan.accuracy_margin},
    }
    write_atomic(workspace.config, _toml(sections).encode())
    return port


def _toml(sections: dict[str, dict[str, Any]]) -> str:
    """TOML of plain values; JSON writes numbers, texts, lists and booleans the same way."""
    blocks = []
    for name, values in sections.items():
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        blocks.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(blocks) + "\n"
