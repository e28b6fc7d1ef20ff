from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

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
WEIGHT_EC = np.diag([8.0, 8.0, 8.0]).astype(np.float32)


class WriteGraph(Protocol):
    def __call__(self, path: Path, *, weight_EC: Array = ..., batch: str | int = ...) -> None: ...


class WriteBundle(Protocol):
    def __call__(self, folder: Path, *, temperature: float = ...) -> Path: ...


@pytest.fixture(scope="session")
def write_colour_graph() -> WriteGraph:
    """Writes a 4 x 4 px graph: embedding = mean colour in [0, 1]; logits = 8 x embedding."""
    return write_graph


@pytest.fixture(scope="session")
def write_colour_bundle() -> WriteBundle:
    """Writes a whole bundle around that graph, classes red, green and blue."""
    return write_all


def mean_colour(images_NHW3: Array) -> Array:
    return np.asarray(images_NHW3.mean(axis=(1, 2)) / 255)


def images(n: int, *, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)


def write_graph(path: Path, *, weight_EC: Array = WEIGHT_EC, batch: str | int = "batch") -> None:
    """embedding = mean colour in [0, 1]; logits = embedding @ weight."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weight"], ["logits"]),
    ]
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "axes": np.array([1, 2]),
        "weight": weight_EC,
    }
    graph = helper.make_graph(
        nodes,
        "mean_colour",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def write_all(folder: Path, *, temperature: float = 2.0) -> Path:
    folder.mkdir(parents=True)
    write_graph(folder / MODEL_FILE)
    inputs = images(5, seed=9)
    embedding = mean_colour(inputs).astype(np.float32)
    write_golden(folder, Golden(inputs, embedding @ WEIGHT_EC, embedding))
    colours = mean_colour(images(999, seed=1))
    grey = np.full(3, 3**-0.5)
    distances = np.linalg.norm(
        colours / np.linalg.norm(colours, axis=1, keepdims=True) - grey, axis=1
    )
    reference = Reference(
        held_out_counts_DCB=np.zeros((1, 3, 19)),
        validation_counts_DCB=np.zeros((1, 3, 19)),
        labelled_counts_CCB=np.zeros((3, 3, 19)),
        embedding_mean_E=grey,
        embedding_projection_EP=np.eye(3),
        novelty_quantiles_Q=np.quantile(distances, np.linspace(0, 1, 101)),
    )
    write_reference(folder / REFERENCE_FILE, reference)
    names = (MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE)
    bundle = Bundle(
        schema=1,
        bundle_id=folder.name,
        model="default",
        created_at="2026-11-22T09:00:00.000Z",
        input=InputSpec(SIDE, SIDE),
        classes=CLASSES,
        source_domains=("meadow",),
        target_domains=(),
        temperature=temperature,
        temperature_fitted_on="validation",
        abstain_below=0.5,
        embedding_dim=3,
        parity=Parity(8, 0.0, 0.0, 0.0, 1.0, 1e-4),
        domains=(),
        provenance=Provenance("run", None, "0", "", "2", "1", 20),
        files={name: sha256_file(folder / name) for name in names},
    )
    write_bundle(folder, bundle)
    return folder
