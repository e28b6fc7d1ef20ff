from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from redshank.errors import ConfigError, InputError, MissingPartError
from training.feasible import check_settings
from training.train import train

from .conftest import SMALL, MakeManifest


def test_missing_parts_are_named(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"x\.pth does not exist"):
        check_settings(dataclasses.replace(SMALL, backbone="resnet18", weights="x.pth"))
    with pytest.raises(ConfigError, match="small_cnn takes no pretrained weights"):
        check_settings(dataclasses.replace(SMALL, weights="x.pth"))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPartError, match="tensorboardX is not installed"):
        check_settings(dataclasses.replace(SMALL, tensorboard="curves"))
    if not torch.cuda.is_available():
        with pytest.raises(MissingPartError, match="torch sees no GPU"):
            train(make_manifest(), dataclasses.replace(SMALL, device="cuda"), tmp_path)
