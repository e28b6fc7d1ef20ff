"""A stochastic cosine head trained beside MixStyle is served by its mean weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Generator

from export.parity import network_answers
from export.to_onnx import write_onnx
from redshank.nn.backbones import build_backbone
from redshank.nn.checkpoint import load_model, save_model
from redshank.nn.mixstyle import add_mixstyle, sampling
from redshank.onnx_session import open_session


def test_exported_graph_answers_as_the_mean_weights_do(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build_backbone("small_cnn", 5, width=8, head="cosine")
    add_mixstyle(network.features, 1.0)
    with torch.no_grad(), sampling(network, Generator().manual_seed(0)):
        for _ in range(3):
            drawn = network(torch.rand(4, 3, 32, 32))[0]
    save_model(tmp_path / "model.safetensors", network)
    loaded = load_model(tmp_path / "model.safetensors")
    path = tmp_path / "model.onnx"
    write_onnx(loaded, path, height=32, width=32, max_batch=8, metadata={})
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    session = open_session(path)
    first, again = (session.run(None, {session.get_inputs()[0].name: images}) for _ in range(2))
    wanted_logits, wanted_embedding = network_answers(loaded, images)
    np.testing.assert_allclose(first[0], wanted_logits, atol=1e-4)
    np.testing.assert_allclose(first[1], wanted_embedding, atol=1e-5)
    np.testing.assert_array_equal(first[0], again[0])
    assert drawn.abs().max() <= 20.0 + 1e-4  # cosines over a temperature of 0.05
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert not operators & {"RandomNormal", "RandomNormalLike", "RandomUniform"}
