"""BatchNorm and ReLU behind a max-pooling go before it, exactly, so that INT8 can absorb them.

A maximum commutes with every growing function of one channel. So pool(x) * a + b = pool(x * a + b)
where a >= 0, the multiplication disappears in the convolution before it, and ReLU may be taken
before the pooling too. Networks that pool first (`small_cnn`) train faster; quantised, they would
round twice, and convert to float and back around each BatchNorm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]


def fold_pooled_norms(model: onnx.ModelProto) -> int:
    """Rewrite every Conv, MaxPool, BatchNormalization (, Relu) of `model` in place.

    Chains with a negative channel, or whose parts are used elsewhere too, stay as they are.

    Returns:
        How many chains were rewritten.
    """
    graph = model.graph
    folded = 0
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        pool = _producer(graph, norm.input[0], "MaxPool")
        conv = _producer(graph, pool.input[0], "Conv") if pool else None
        if conv is None or pool is None or len(pool.output) > 1:
            continue
        folded += _fold(graph, conv, pool, norm)
    _drop_unused(graph)
    return folded


def _fold(graph: Any, conv: Any, pool: Any, norm: Any) -> bool:
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    if not all(name in constants for name in (*norm.input[1:], *conv.input[1:])):
        return False
    gamma_C, beta_C, mean_C, variance_C = (
        constants[name].astype(np.float64) for name in norm.input[1:]
    )
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale_C = gamma_C / np.sqrt(variance_C + epsilon)
    if (scale_C < 0).any():
        return False
    weight = constants[conv.input[1]].astype(np.float64)
    bias_C = constants[conv.input[2]].astype(np.float64) if len(conv.input) > 2 else 0.0
    weight *= scale_C.reshape(-1, *[1] * (weight.ndim - 1))
    names = [f"{norm.name}_folded_weight", f"{norm.name}_folded_bias"]
    for name, value in zip(names, (weight, beta_C + scale_C * (bias_C - mean_C)), strict=True):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    del conv.input[1:]
    conv.input.extend(names)
    _replace(graph, norm, pool.output[0])
    relu = _only_user(graph, pool.output[0])
    if relu is not None and relu.op_type == "Relu":
        _relu_first(graph, conv, pool, relu)
    return True


def _relu_first(graph: Any, conv: Any, pool: Any, relu: Any) -> None:
    """Conv, MaxPool, Relu to Conv, Relu, MaxPool."""
    _replace(graph, relu, pool.output[0])
    positive = f"{conv.output[0]}_positive"
    place = list(graph.node).index(pool)
    graph.node.insert(
        place, helper.make_node("Relu", [conv.output[0]], [positive], name=f"{conv.name}_relu")
    )
    pool.input[0] = positive


def _producer(graph: Any, name: str, operator: str) -> Any | None:
    """The node of that kind that makes a tensor which nobody else uses."""
    node = next((n for n in graph.node if name in n.output), None)
    wanted = node is not None and node.op_type == operator
    return node if wanted and _only_user(graph, name) is not None else None


def _only_user(graph: Any, name: str) -> Any | None:
    users = [node for node in graph.node if name in node.input]
    is_output = any(end.name == name for end in graph.output)
    return users[0] if len(users) == 1 and not is_output else None


def _replace(graph: Any, node: Any, name: str) -> None:
    """Remove a node; its readers read `name`."""
    for other in graph.node:
        for place, read in enumerate(other.input):
            if read == node.output[0]:
                other.input[place] = name
    graph.node.remove(node)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    for constant in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(constant)
