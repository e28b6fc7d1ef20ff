from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from export.parity import network_answers, parity_table
from export.to_onnx import ServedNetwork, check_graph, write_onnx
from redshank.errors import IntegrityError, StageError
from redshank.nn.backbones import Backbone, build_backbone
from redshank.onnx_session import open_session


def warmed(name: str, side: int) -> Backbone:
    torch.manual_seed(1)
    network = build_backbone(name, 5, width=8)
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, 3, side, side))
    return network.eval()


def noise(n: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(n).integers(0, 256, (n, side, side, 3), np.uint8)


@pytest.mark.parametrize(("name", "side"), [("small_cnn", 32), ("resnet18", 64)])
def test_one_normalisation_two_forms(name: str, side: int) -> None:
    network, images = warmed(name, side), noise(4, side)
    with torch.no_grad():
        logits, embedding = ServedNetwork(network).eval()(torch.from_numpy(images))
    expected_logits, expected_embedding = network_answers(network, images)
    np.testing.assert_allclose(logits.numpy(), expected_logits, atol=1e-5)
    np.testing.assert_allclose(embedding.numpy(), expected_embedding, atol=1e-5)


def test_resnet18_answers_every_batch_size_as_torch_does(tmp_path: Path) -> None:
    network, path = warmed("resnet18", 64), tmp_path / "model.onnx"
    write_onnx(network, path, height=64, width=64, max_batch=16, metadata={"origin": "test"})
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    table = parity_table(
        network,
        open_session(path),
        {"noise": noise(5, 64)},
        temperature=1.0,
        batch_sizes=(1, 2, 3, 7, 16),
    )
    assert [row.images for row in table] == [5, 1, 2, 3, 7, 16]
    for row in table:
        assert row.logits < 1e-5, row
        assert row.embedding < 1e-5, row
    assert {p.key: p.value for p in onnx.load(path).metadata_props}["origin"] == "test"


class Undecided(torch.nn.Module):
    """Which way it goes depends on the image: no single graph can say that."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x_N3HW: torch.Tensor) -> Any:
        return self.inner(x_N3HW if x_N3HW.mean() > 0 else 2 * x_N3HW)


def test_a_network_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    network = warmed("small_cnn", 32)
    network.features = Undecided(network.features)
    with pytest.raises(StageError, match="exporter does not take this network: Could not") as told:
        write_onnx(network, tmp_path / "m.onnx", height=32, width=32, max_batch=4, metadata={})
    assert "\n" not in told.value.message
    assert list(tmp_path.iterdir()) == []


def graph(
    operators: list[tuple[str, dict[str, Any]]], *, batch: str | int = "batch"
) -> onnx.ModelProto:
    """A graph of one chain; `logits` is its end, `embedding` a copy."""
    names = ["image", *(f"x{i}" for i in range(len(operators)))]
    nodes = [
        helper.make_node(kind, [a], [b], **values)
        for (kind, values), a, b in zip(operators, names, names[1:], strict=False)
    ]
    nodes += [helper.make_node("Identity", [names[-1]], [end]) for end in ("logits", "embedding")]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 4, 4, 3])
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, [batch, 3, 4, 4])
        for end in ("logits", "embedding")
    ]
    made = helper.make_graph(nodes, "chain", [image], ends)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


CAST: tuple[str, dict[str, Any]] = ("Cast", {"to": TensorProto.FLOAT})
TRANSPOSE: tuple[str, dict[str, Any]] = ("Transpose", {"perm": [0, 3, 1, 2]})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (graph([TRANSPOSE, CAST]), "the image goes through"),
        (graph([CAST, TRANSPOSE]), "the image goes through"),
        (graph([CAST, TRANSPOSE], batch=2), "batch axis of 'image' is fixed"),
    ],
)
def test_graphs_other_than_promised_are_refused(
    model: onnx.ModelProto, message: str, tmp_path: Path
) -> None:
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(IntegrityError, match=message):
        check_graph(tmp_path / "model.onnx")


def test_invalid_files_and_other_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph at all")
    with pytest.raises(IntegrityError, match="not valid ONNX"):
        check_graph(path)
    model = graph([CAST, TRANSPOSE])
    model.graph.input[0].name = "picture"
    model.graph.node[0].input[0] = "picture"
    onnx.save(model, path)
    with pytest.raises(IntegrityError, match="inputs and outputs are"):
        check_graph(path)
