from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.golden import synthetic_images
from export.quantize import float16, int8_for_cpu, int8_for_tensorrt
from export.tensorrt_plan import BuildError, BuildSpec, build_plan
from export.to_onnx import PREFIX, first_nodes
from redshank.onnx_session import open_session, run_session

from .pooling_graph import SIDE, write_pooling_graph

RTX_REASON = "tensorrt-rtx-cu13 is not installed (extra tensorrt-rtx)"
IMAGES = synthetic_images(16, SIDE, SIDE, seed=1)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_pooling_graph(path)
    return path


@pytest.fixture(scope="module")
def small(graph: Path) -> Path:
    """The INT8 graph for CPUs."""
    path = graph.with_name("int8.onnx")
    int8_for_cpu(graph, path, [IMAGES])
    return path


@pytest.fixture(scope="module")
def symmetric(graph: Path) -> Path:
    """The INT8 graph for TensorRT."""
    path = graph.with_name("int8_tensorrt.onnx")
    int8_for_tensorrt(graph, path, [IMAGES])
    return path


def loss(path: Path, graph: Path) -> float:
    """Largest difference of embeddings, as a share of the largest embedding."""
    expected = run_session(open_session(graph), IMAGES)[1]
    found = run_session(open_session(path), IMAGES)[1]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_int8_answers_nearly_the_same(small: Path, graph: Path) -> None:
    assert 0 < loss(small, graph) < 0.05
    assert {p.key: p.value for p in onnx.load(small).metadata_props}["who"] == "me"


def test_weights_are_signed_bytes_with_a_scale_a_channel(small: Path) -> None:
    constants = {i.name: numpy_helper.to_array(i) for i in onnx.load(small).graph.initializer}
    weights = {n: v for n, v in constants.items() if v.ndim == 4 and v.dtype == np.int8}
    assert len(weights) == 3
    for name in weights:
        assert constants[name.replace("_quantized", "_scale")].shape == (8,)
    assert not [n for n, v in constants.items() if v.ndim == 4 and v.dtype == np.float32]


def test_the_operators_before_the_backbone_stay_in_float(small: Path, symmetric: Path) -> None:
    for path in (small, symmetric):
        nodes = first_nodes(onnx.load(path).graph)
        assert tuple(node.op_type for node in nodes) == PREFIX


def test_fewer_bits_of_weight_where_asked_for(graph: Path, tmp_path: Path) -> None:
    int8_for_cpu(graph, tmp_path / "seven.onnx", [IMAGES], reduce_range=True)
    constants = onnx.load(tmp_path / "seven.onnx").graph.initializer
    arrays = [numpy_helper.to_array(i) for i in constants]
    assert max(np.abs(a.astype(int)).max() for a in arrays if a.dtype == np.int8) <= 64


def test_ranges_come_from_every_batch(graph: Path, tmp_path: Path) -> None:
    dark = [IMAGES // 8]
    int8_for_cpu(graph, tmp_path / "dark.onnx", dark)
    int8_for_cpu(graph, tmp_path / "both.onnx", [*dark, IMAGES])
    assert loss(tmp_path / "dark.onnx", graph) > 2 * loss(tmp_path / "both.onnx", graph)


def test_half_precision_keeps_its_ends(graph: Path, tmp_path: Path) -> None:
    float16(graph, tmp_path / "fp16.onnx")
    types = {i.data_type for i in onnx.load(tmp_path / "fp16.onnx").graph.initializer if i.dims}
    assert types == {onnx.TensorProto.FLOAT16}
    assert 0 < loss(tmp_path / "fp16.onnx", graph) < 5e-3
    ends = open_session(tmp_path / "fp16.onnx")
    assert [end.type for end in (*ends.get_inputs(), *ends.get_outputs())] == [
        "tensor(uint8)",
        "tensor(float)",
        "tensor(float)",
    ]


def test_nvidias_parser_takes_fp16_and_the_symmetric_graph_only(
    small: Path, symmetric: Path, graph: Path, tmp_path: Path
) -> None:
    library = pytest.importorskip("tensorrt_rtx", reason=RTX_REASON)
    float16(graph, tmp_path / "fp16.onnx")
    for path in (symmetric, tmp_path / "fp16.onnx"):
        plan, _ = build_plan(library, path, BuildSpec())
        assert len(plan) > 10_000
    with pytest.raises(BuildError, match="DequantizeLinear"):
        build_plan(library, small, BuildSpec())
