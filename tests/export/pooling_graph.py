"""A graph as export writes them, small and made by hand: 3 convolutions that pool before they norm.

Writing it takes milliseconds; exporting a network takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 16
WIDTH = 8


def write_pooling_graph(path: Path, *, negative: bool = False, pooled: bool = True) -> None:
    """uint8 [batch, 16, 16, 3] to logits [batch, 5] and embedding [batch, 8].

    Args:
        path: of the file.
        negative: one channel of each BatchNormalization has a negative scale.
        pooled: the pooling stands before the norms, else behind.
    """
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "scale": np.full((3, 1, 1), 1 / 64, np.float32),
        "offset": np.full((3, 1, 1), -2, np.float32),
        "head": rng.normal(size=(5, WIDTH)).astype(np.float32),
        "head_bias": rng.normal(size=5).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2], name="transpose"),
        helper.make_node("Mul", ["planes", "scale"], ["scaled"], name="mul"),
        helper.make_node("Add", ["scaled", "offset"], ["x0"], name="add"),
    ]
    for i in range(3):
        constants |= _block(rng, i, inputs=WIDTH if i else 3, negative=negative)
        nodes += _nodes(i, pooled=pooled)
    nodes += [
        helper.make_node("GlobalAveragePool", ["x3"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["embedding"], name="flatten"),
        helper.make_node(
            "Gemm", ["embedding", "head", "head_bias"], ["logits"], transB=1, name="g"
        ),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "pooling",
        [value("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [
            value("logits", TensorProto.FLOAT, ["batch", 5]),
            value("embedding", TensorProto.FLOAT, ["batch", WIDTH]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.metadata_props.add(key="who", value="me")
    onnx.save(model, path)


def _block(rng: np.random.Generator, i: int, *, inputs: int, negative: bool) -> dict[str, Any]:
    gamma = rng.uniform(0.5, 1.5, WIDTH)
    if negative:
        gamma[3] *= -1
    arrays = {
        f"weight{i}": rng.normal(size=(WIDTH, inputs, 3, 3)) / np.sqrt(9 * inputs),
        f"gamma{i}": gamma,
        f"beta{i}": rng.normal(size=WIDTH),
        f"mean{i}": rng.normal(size=WIDTH),
        f"variance{i}": rng.uniform(0.5, 1.5, WIDTH),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _nodes(i: int, *, pooled: bool) -> list[Any]:
    def norm(source: str, target: str) -> Any:
        names = [f"{kind}{i}" for kind in ("gamma", "beta", "mean", "variance")]
        return helper.make_node("BatchNormalization", [source, *names], [target], name=f"norm{i}")

    def pool(source: str, target: str) -> Any:
        return helper.make_node(
            "MaxPool", [source], [target], kernel_shape=[2, 2], strides=[2, 2], name=f"pool{i}"
        )

    first, second = (pool, norm) if pooled else (norm, pool)
    conv = helper.make_node(
        "Conv", [f"x{i}", f"weight{i}"], [f"a{i}"], kernel_shape=[3, 3], pads=[1] * 4, name=f"c{i}"
    )
    relu = helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"], name=f"relu{i}")
    return [conv, first(f"a{i}", f"b{i}"), second(f"b{i}", f"c{i}"), relu]
