"""An exported graph in fewer bits: INT8 for CPUs, symmetric INT8 for TensorRT, fp16.

INT8 is static quantisation with a scale per output channel (Jacob et al. 2018) and ranges that are
the smallest and largest values seen on calibration images. CPUs multiply unsigned activations with
signed weights fastest; TensorRT takes symmetric signed values only, and no quantised bias. The
operators before the backbone (`to_onnx.PREFIX`) stay as they are: in INT8 they cost ten times as
much as in float.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from redshank.bundle import INPUT_NAME

from .pooled_norm import fold_pooled_norms
from .to_onnx import check_graph, first_nodes

Pixels = npt.NDArray[np.uint8]

OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "MaxPool", "Relu", "Clip")
"""What is quantised: the sums, and what may stand between two of them."""
TENSORRT_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
}


def int8_for_cpu(
    source: Path, target: Path, batches: Iterable[Pixels], *, reduce_range: bool = False
) -> None:
    """Unsigned activations, signed weights.

    Args:
        source: exported fp32 graph.
        target: where the INT8 graph goes.
        batches: calibration images, uint8 [N, H, W, 3] each.
        reduce_range: 7 bits for weights, for CPUs without VNNI, whose 16-bit sums overflow.

    Raises:
        IntegrityError: the result is no graph as promised.
    """
    _quantize(source, target, batches, QuantType.QUInt8, reduce_range=reduce_range)
    model = onnx.load(target)
    _widen_constants(model.graph)
    onnx.save(model, target)
    check_graph(target)


def int8_for_tensorrt(source: Path, target: Path, batches: Iterable[Pixels]) -> None:
    """Signed symmetric activations and weights, float bias; arguments as in `int8_for_cpu`."""
    _quantize(source, target, batches, QuantType.QInt8, options=TENSORRT_OPTIONS)


def float16(source: Path, target: Path) -> None:
    """Weights and sums in half precision; inputs and outputs keep their types.

    Raises:
        IntegrityError: the result is no graph as promised.
    """
    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    onnx.save(model, target)
    check_graph(target)


def _widen_constants(graph: Any) -> None:
    """Scale and offset of the channels, [3, 1, 1], repeated to [3, 1, W].

    Integer convolutions want channels last, so the runtime moves the Transpose behind Mul and Add;
    there a constant of three numbers is applied three values at a time, which takes as long as a
    convolution.
    """
    width = graph.input[0].type.tensor_type.shape.dim[2].dim_value
    arithmetic = [n for n in first_nodes(graph) if n.op_type in ("Mul", "Add")]
    names = {name for node in arithmetic for name in node.input}
    for constant in [i for i in graph.initializer if i.name in names]:
        wide_31W = numpy_helper.to_array(constant).repeat(width, axis=-1)
        constant.CopyFrom(numpy_helper.from_array(wide_31W, constant.name))
    for stated in [v for v in graph.value_info if v.name in names]:
        if any(i.name == stated.name for i in graph.initializer):
            graph.value_info.remove(stated)


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, batches: Iterable[Pixels]) -> None:
        self._batches: Iterator[Pixels] = iter(batches)

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


def _quantize(
    source: Path,
    target: Path,
    batches: Iterable[Pixels],
    activations: Any,
    *,
    reduce_range: bool = False,
    options: dict[str, Any] | None = None,
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folded, prepared = Path(scratch) / "folded.onnx", Path(scratch) / "prepared.onnx"
        model = onnx.load(source)
        fold_pooled_norms(model)
        onnx.save(model, folded)
        quant_pre_process(folded, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=[node.name for node in first_nodes(onnx.load(prepared).graph)],
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )
    check_graph(target)
