"""Models and training states as safetensors: nothing is ever unpickled.

A model file is self-contained: its header metadata tells how to build the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from redshank.errors import InputError, IntegrityError
from redshank.files import write_atomic
from redshank.nn.backbones import Backbone, build_backbone

_METADATA_KEY = "redshank"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors and JSON-ready facts into one file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(dict(facts), allow_nan=False)
    write_atomic(path, save(plain, metadata={_METADATA_KEY: text}))


def load_tensors(path: Path, *, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_tensors` wrote.

    Raises:
        InputError: the file is missing.
        IntegrityError: it is cut off, or not written by `save_tensors`.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path, device=device)
        facts = json.loads(metadata[_METADATA_KEY])
    except (SafetensorError, KeyError, ValueError) as error:
        raise IntegrityError(f"{path} is not a checkpoint of redshank: {error}") from error
    return tensors, facts


def save_model(path: Path, model: Backbone) -> None:
    """Writes a network with what is needed to build it again."""
    save_tensors(path, model.state_dict(), {"backbone": model.recipe})


def load_model(path: Path, *, device: str = "cpu") -> Backbone:
    """Builds the network of a model file, in evaluation mode.

    Raises:
        InputError: the file is missing.
        IntegrityError: it is damaged, or its tensors do not fit its own description.
    """
    state, facts = load_tensors(path, device=device)
    try:
        model = build_backbone(**facts["backbone"])
        model.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise IntegrityError(f"{path}: weights and description disagree: {error}") from error
    return model.to(device).eval()
