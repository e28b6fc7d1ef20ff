from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from redshank.errors import InputError
from redshank.nn.backbones import build_backbone


@pytest.mark.parametrize(
    ("name", "pixels"), [("small_cnn", 32), ("small_cnn", 37), ("resnet18", 64)]
)
def test_one_call_shape(name: str, pixels: int) -> None:
    model = build_backbone(name, 7, width=8).eval()
    logits, embedding = model(torch.rand(2, 3, pixels, pixels))
    assert logits.shape == (2, 7)
    assert embedding.shape == (2, model.embedding_dim)
    torch.testing.assert_close(model.head(embedding), logits)


def test_small_cnn_has_the_width_it_was_asked_for() -> None:
    model = build_backbone("small_cnn", 10, width=16)
    widths = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [16, 16, 16, 16]
    assert model.embedding_dim == 64


def test_normalisation_is_inside() -> None:
    model = build_backbone("resnet18", 2)
    assert model.mean_3.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "mean_3" in model.state_dict()


@pytest.mark.parametrize("name", ["features.safetensors", "features.pth"])
def test_pretrained_features_come_from_a_file(tmp_path: Path, name: str) -> None:
    donor = build_backbone("resnet18", 2)
    state = dict(donor.features.state_dict())
    state["fc.weight"] = torch.zeros(1000, 512)
    if name.endswith(".pth"):
        torch.save(state, tmp_path / name)
    else:
        save_file(state, tmp_path / name)
    model = build_backbone("resnet18", 5, weights=tmp_path / name)
    for name, value in model.features.state_dict().items():
        assert torch.equal(value, donor.features.state_dict()[name])


def test_bad_requests_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown backbone 'vgg'"):
        build_backbone("vgg", 3)
    with pytest.raises(ValueError, match="takes no pretrained weights"):
        build_backbone("small_cnn", 3, weights=tmp_path / "x")


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    state = build_backbone("resnet18", 2).features.state_dict()
    torch.save({"state_dict": state}, tmp_path / "nested.pth")
    torch.save(build_backbone("resnet18", 2), tmp_path / "pickled.pth")
    torch.save(state | {"conv1.weight": torch.zeros(1)}, tmp_path / "shape.pth")
    torch.save({k: v for k, v in state.items() if k != "conv1.weight"}, tmp_path / "less.pth")
    save_file(state, tmp_path / "resnet18.safetensors")
    for name in ("empty.pth", "noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"" if name == "empty.pth" else b"garbage")
    for backbone, name, message in (
        ("resnet18", "nested.pth", "holds more, or other, than named tensors"),
        ("resnet18", "pickled.pth", "is no file of tensors"),
        ("resnet18", "shape.pth", "holds no resnet18: 1 tensors .* like 'conv1.weight'"),
        ("resnet18", "less.pth", "holds no resnet18: 1 tensors .* like 'conv1.weight'"),
        ("resnet34", "resnet18.safetensors", r"holds no resnet34: \d+ tensors"),
        ("resnet18", "empty.pth", "is no file of tensors"),
        ("resnet18", "noise.pth", "is no file of tensors"),
        ("resnet18", "noise.safetensors", "is no file of tensors"),
    ):
        with pytest.raises(InputError, match=f"{name} {message}") as caught:
            build_backbone(backbone, 2, weights=tmp_path / name)
        assert "\n" not in caught.value.message


def test_old_weight_files_without_batch_counters_fit(tmp_path: Path) -> None:
    state = build_backbone("resnet18", 2).features.state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    model = build_backbone("resnet18", 2, weights=tmp_path / "old.pth")
    assert torch.equal(model.features.state_dict()["conv1.weight"], state["conv1.weight"])
