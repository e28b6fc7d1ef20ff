from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from redshank.errors import InputError, MissingPartError
from redshank.nn.backbones import build_backbone
from redshank.nn.checkpoint import load_model, save_model
from redshank.nn.feature_networks import LAST_LAYER


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


def test_a_transformer_is_built_again_for_its_size(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed (extra timm)")
    model = build_backbone("timm:test_vit", 3, image_size=48).eval()
    save_model(tmp_path / "model.safetensors", model)
    again = load_model(tmp_path / "model.safetensors")
    x_B3HW = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(again(x_B3HW)[0], model(x_B3HW)[0])
    assert again.recipe["image_size"] == 48


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "test_resnet"])
def test_timm_networks_learn_and_take_their_weights_from_a_file(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (extra timm)")
    donor = timm.create_model(name, num_classes=10, **({"img_size": 48} if "vit" in name else {}))
    save_file(donor.state_dict(), tmp_path / "donor.safetensors")
    model = build_backbone(f"timm:{name}", 4, weights=tmp_path / "donor.safetensors", image_size=48)
    logits_BC, embedding_BD = model(torch.rand(4, 3, 48, 48))
    assert logits_BC.shape == (4, 4)
    assert embedding_BD.shape == (4, model.embedding_dim)
    logits_BC.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    for key, value in model.features.state_dict().items():
        if "running" not in key and "num_batches" not in key:
            assert torch.equal(value, donor.state_dict()[key])


def test_what_timm_has_not_got_is_named() -> None:
    pytest.importorskip("timm", reason="timm is not installed (extra timm)")
    with pytest.raises(ValueError, match="has no 'test_vitt'"):
        build_backbone("timm:test_vitt", 3)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPartError) as caught:
        build_backbone("timm:test_vit", 3)
    assert "redshank[timm]" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "features"), [("efficientnet_b0", 1280), ("convnext_tiny", 768), ("vit_b_32", 768)]
)
def test_the_last_layer_of_torchvisions_families_gives_way(name: str, features: int) -> None:
    with torch.device("meta"):  # shapes only: no weights are made
        model = build_backbone(name, 3, image_size=64).eval()
        logits_BC, embedding_BD = model(torch.rand(2, 3, 64, 64))
    assert logits_BC.shape == (2, 3)
    assert embedding_BD.shape == (2, features) == (2, model.embedding_dim)
    assert isinstance(model.features.get_submodule(LAST_LAYER[name]), nn.Identity)


def test_a_transformer_refuses_sizes_that_are_no_whole_number_of_patches() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="takes no images of 50 px"):
        build_backbone("vit_b_16", 3, image_size=50)


def test_position_embeddings_follow_the_image_size(tmp_path: Path) -> None:
    donor = build_backbone("vit_b_32", 2, image_size=96).features
    torch.save(donor.state_dict(), tmp_path / "vit.pth")
    model = build_backbone("vit_b_32", 2, image_size=64, weights=tmp_path / "vit.pth")
    own = model.features.state_dict()
    assert own["encoder.pos_embedding"].shape == (1, 5, 768)  # 2 x 2 patches and the class token
    assert torch.equal(own["conv_proj.weight"], donor.state_dict()["conv_proj.weight"])
