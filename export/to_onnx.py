"""A trained network as one ONNX file: uint8 image in, logits and embedding out.

The graph starts Cast, Transpose, Mul, Add and goes on with the backbone. The order is TensorRT's
wish: its parser takes uint8 at an input only, and only into a Cast. Scaling and the backbone's
normalisation are one Mul and one Add, made of the backbone's own constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from redshank.bundle import INPUT_NAME, OUTPUT_NAMES
from redshank.errors import IntegrityError, StageError
from redshank.nn.backbones import Backbone

OPSET = 20
PREFIX = ("Cast", "Transpose", "Mul", "Add")
GREY_LEVELS = 255.0


class ServedNetwork(nn.Module):
    """The network as it is served; equal to `network(image / 255)` up to rounding."""

    scale_311: Tensor
    offset_311: Tensor

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.features = network.features
        self.head = network.head
        scale_3 = 1.0 / (GREY_LEVELS * network.std_3.double())
        offset_3 = -network.mean_3.double() / network.std_3.double()
        self.register_buffer("scale_311", scale_3.float()[:, None, None])
        self.register_buffer("offset_311", offset_3.float()[:, None, None])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, C] and embedding [N, E] of uint8 images [N, H, W, 3]."""
        x_N3HW = image.to(torch.float32).permute(0, 3, 1, 2)
        embedding_NE = self.features(x_N3HW * self.scale_311 + self.offset_311)
        return self.head(embedding_NE), embedding_NE


def write_onnx(
    network: Backbone,
    path: Path,
    *,
    height: int,
    width: int,
    max_batch: int,
    metadata: Mapping[str, str],
) -> None:
    """Export and check one file.

    Args:
        network: in evaluation mode, on the CPU.
        path: where the file goes; weights are inside.
        height: rows of the input image.
        width: its columns.
        max_batch: upper end of the free batch axis, at least 2.
        metadata: texts stored in the file, readable by any ONNX tool.

    Raises:
        StageError: the exporter does not take the network.
        IntegrityError: the exporter wrote a graph that is invalid or not as promised.
    """
    served = ServedNetwork(network).eval()
    # a batch of 1 would be taken for a constant (torch.export specialises 0 and 1)
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=max_batch)
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                served,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=list(OUTPUT_NAMES),
                dynamic_shapes={INPUT_NAME: {0: batch}},
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise StageError(
            f"torch's ONNX exporter does not take this network: {reason}",
            hint="Train another training.backbone; docs/export.md says which ones were tried.",
        ) from error
    if program is None:
        raise IntegrityError("the ONNX exporter returned nothing")
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)
    check_graph(path)


def write_metadata(path: Path, facts: Mapping[str, Any]) -> None:
    """Add or replace texts in the metadata of an ONNX file."""
    model = onnx.load(path)
    for entry in [e for e in model.metadata_props if e.key in facts]:
        model.metadata_props.remove(entry)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=str(value))
    onnx.save(model, path)


def check_graph(path: Path) -> None:
    """Full check of an exported file: validity, names, types, free batch axis, first operators.

    Raises:
        IntegrityError: something is not as promised.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise IntegrityError(f"{path} is not valid ONNX: {error}") from error
    graph = model.graph
    found = ([i.name for i in graph.input], [o.name for o in graph.output])
    if found != ([INPUT_NAME], list(OUTPUT_NAMES)):
        raise IntegrityError(f"{path}: inputs and outputs are {found}")
    if graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        raise IntegrityError(f"{path}: the input is not uint8")
    fixed = [end.name for end in (*graph.input, *graph.output) if not _free_batch(end)]
    if fixed:
        raise IntegrityError(f"{path}: the batch axis of {fixed[0]!r} is fixed")
    operators = tuple(node.op_type for node in first_nodes(graph))
    if operators != PREFIX:
        raise IntegrityError(f"{path}: the image goes through {operators}, expected {PREFIX}")


def _free_batch(end: Any) -> bool:
    return bool(end.type.tensor_type.shape.dim[0].dim_param)


def first_nodes(graph: Any, count: int = len(PREFIX)) -> tuple[Any, ...]:
    """The nodes that the image goes through first, up to a fork; reading its shape is none."""
    name, found = graph.input[0].name, []
    for _ in range(count):
        users = [n for n in graph.node if name in n.input and n.op_type != "Shape"]
        if len(users) != 1:
            break
        found.append(users[0])
        name = users[0].output[0]
    return tuple(found)
