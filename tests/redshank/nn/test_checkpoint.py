from __future__ import annotations

from pathlib import Path

import pytest
import torch

from redshank.errors import InputError, IntegrityError
from redshank.nn.backbones import build_backbone
from redshank.nn.checkpoint import load_model, load_tensors, save_model, save_tensors


def test_model_comes_back_exactly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_backbone("small_cnn", 3, width=4)
    model(torch.rand(4, 3, 16, 16))  # statistics away from their start
    save_model(tmp_path / "model.safetensors", model)
    loaded = load_model(tmp_path / "model.safetensors")
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded(x)[0], model.eval()(x)[0])
    assert loaded.recipe == model.recipe
    assert not loaded.training


def test_tensors_and_facts_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6).view(2, 3).t(), "b": torch.tensor(2.5, dtype=torch.float64)}
    save_tensors(tmp_path / "state", tensors, {"step": 7, "seen": ["x"]})
    loaded, facts = load_tensors(tmp_path / "state")
    assert facts == {"step": 7, "seen": ["x"]}
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="does not exist"):
        load_model(path)
    save_model(path, build_backbone("small_cnn", 3, width=4))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(IntegrityError, match="not a checkpoint"):
        load_model(path)
    save_tensors(path, {"x": torch.zeros(1)}, {"backbone": {"name": "small_cnn", "num_classes": 2}})
    with pytest.raises(IntegrityError, match="disagree"):
        load_model(path)
