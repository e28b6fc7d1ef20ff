"""The smallest real bundle: its class is the brightest colour, so every right answer is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.bundle import (
    GOLDEN_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    Bundle,
    Golden,
    InputSpec,
    Parity,
    Provenance,
    write_bundle,
    write_golden,
)
from redshank.files import sha256_file
from redshank.reference import Reference, write_reference

Array = npt.NDArray[Any]
CLASSES = ("red", "green", "blue")
SIDE = 4
"""Height and width in pixels, where nothing else is said."""
WEIGHT_EC = np.diag([8.0, 8.0, 8.0]).astype(np.float32)
NO_BIAS_C = np.zeros(3, np.float32)


def random_images(n: int, *, seed: int = 0, side: int = SIDE) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


def mean_colour(images_NHW3: Array) -> Array:
    return np.asarray(images_NHW3.mean(axis=(1, 2)) / 255)


def write_colour_graph(
    path: Path,
    *,
    side: int = SIDE,
    weight_EC: Array = WEIGHT_EC,
    bias_C: Array = NO_BIAS_C,
    batch: str | int = "batch",
) -> None:
    """embedding = mean colour in [0, 1]; logits = embedding @ weight + bias."""
    import onnx  # processes that only copy the file need not load it
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axes"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "weight", "bias"], ["logits"]),
    ]
    constants: dict[str, Array] = {
        "scale": np.array(1 / 255, np.float32),
        "axes": np.array([1, 2]),
        "weight": weight_EC,
        "bias": bias_C,
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mean_colour",
        [value("image", TensorProto.UINT8, [batch, side, side, 3])],
        [
            value("logits", TensorProto.FLOAT, [batch, 3]),
            value("embedding", TensorProto.FLOAT, [batch, 3]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_colour_bundle(folder: Path, *, side: int = SIDE, **changes: Any) -> Path:
    """A new folder with the graph and all that belongs to it; `changes` are fields of `Bundle`."""
    folder.mkdir(parents=True)
    write_colour_graph(folder / MODEL_FILE, side=side)
    complete_bundle(folder, _colour_reference(), side=side, **changes)
    return folder


def complete_bundle(
    folder: Path,
    reference: Reference,
    *,
    side: int = SIDE,
    weight_EC: Array = WEIGHT_EC,
    bias_C: Array = NO_BIAS_C,
    **changes: Any,
) -> None:
    """Write all files beside the graph, which is there; `changes` are fields of `Bundle`."""
    inputs = random_images(5, seed=9, side=side)
    embedding_NE = mean_colour(inputs).astype(np.float32)
    write_golden(folder, Golden(inputs, embedding_NE @ weight_EC + bias_C, embedding_NE))
    write_reference(folder / REFERENCE_FILE, reference)
    bundle = Bundle(
        schema=1,
        bundle_id=folder.name,
        model="default",
        created_at="2026-11-22T09:00:00.000Z",
        input=InputSpec(side, side),
        classes=CLASSES,
        source_domains=("meadow",),
        target_domains=(),
        temperature=2.0,
        temperature_fitted_on="validation",
        abstain_below=0.5,
        embedding_dim=3,
        parity=Parity(8, 0.0, 0.0, 0.0, 1.0, 1e-4),
        domains=(),
        provenance=Provenance("run", None, "0", "", "2", "1", 20),
        files={n: sha256_file(folder / n) for n in (MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE)},
    )
    write_bundle(folder, dataclasses.replace(bundle, **changes))


def _colour_reference() -> Reference:
    colours = mean_colour(random_images(999, seed=1))
    grey = np.full(3, 3**-0.5)
    directions = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    distances = np.linalg.norm(directions - grey, axis=1)
    return Reference(
        held_out_counts_DCB=np.zeros((1, 3, 19)),
        validation_counts_DCB=np.zeros((1, 3, 19)),
        labelled_counts_CCB=np.zeros((3, 3, 19)),
        embedding_mean_E=grey,
        embedding_projection_EP=np.eye(3),
        novelty_quantiles_Q=np.quantile(distances, np.linspace(0, 1, 101)),
    )
