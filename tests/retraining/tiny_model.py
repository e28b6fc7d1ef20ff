"""A network of twelve numbers in a real bundle: logits = mean colour @ weights + bias."""

from __future__ import annotations

import time
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
from redshank.cells import NUM_CONFIDENCE_BINS
from redshank.files import new_id, publish_folder, rfc3339, sha256_file
from redshank.reference import Reference, write_reference
from redshank.run import Run

SIZE = 16
"""Height and width in pixels (the smallest that training takes)."""
CLASSES = ("red", "green", "blue")
WEIGHTS_FILE = "weights.npz"

Floats = npt.NDArray[np.float32]


def write_tiny_model(folder: Path, weights_EC: Floats, bias_C: Floats) -> None:
    """`model.onnx` and its weights; needs the onnx package, which the stages do not."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True)
    constants: dict[str, npt.NDArray[Any]] = {
        "weights": weights_EC,
        "bias": bias_C,
        "axes": np.array([1, 2], dtype=np.int64),
        "scale": np.array(255, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    np.savez(folder / WEIGHTS_FILE, weights_EC=weights_EC, bias_C=bias_C)


def write_tiny_bundle(
    bundles: Path, model: Path, *, run: Run, parent_bundle: str | None = None
) -> Path:
    """A bundle of a prepared model."""
    with np.load(model / WEIGHTS_FILE) as arrays:
        weights_EC, bias_C = arrays["weights_EC"], arrays["bias_C"]
    inputs = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    embedding_NE = (inputs / 255).mean(axis=(1, 2)).astype(np.float32)
    logits_NC = embedding_NE @ weights_EC + bias_C
    bundle_id = new_id(time.time())
    with publish_folder(bundles / bundle_id) as folder:
        (folder / MODEL_FILE).write_bytes((model / MODEL_FILE).read_bytes())
        write_golden(folder, Golden(inputs, logits_NC, embedding_NE))
        write_reference(folder / REFERENCE_FILE, _reference(len(run.source_domains)))
        names = (MODEL_FILE, GOLDEN_FILE, REFERENCE_FILE)
        bundle = Bundle(
            schema=1,
            bundle_id=bundle_id,
            model="default",
            created_at=rfc3339(time.time()),
            input=InputSpec(SIZE, SIZE),
            classes=CLASSES,
            source_domains=run.source_domains,
            target_domains=run.target_domains,
            temperature=1.0,
            temperature_fitted_on="none",
            abstain_below=0.5,
            embedding_dim=3,
            parity=Parity(4, 1e-6, 1e-6, 1e-6, 1.0, 1e-4),
            domains=(),
            provenance=Provenance(run.run_id, parent_bundle, "test", run.data_sha256, "", "", 18),
            files={name: sha256_file(folder / name) for name in names},
        )
        write_bundle(folder, bundle)
    return bundles / bundle_id


def _reference(domains: int) -> Reference:
    classes = len(CLASSES)
    return Reference(
        held_out_counts_DCB=np.zeros((domains, classes, NUM_CONFIDENCE_BINS)),
        validation_counts_DCB=np.ones((domains, classes, NUM_CONFIDENCE_BINS)),
        labelled_counts_CCB=np.ones((classes, classes, NUM_CONFIDENCE_BINS)),
        embedding_mean_E=np.zeros(3),
        embedding_projection_EP=np.eye(3),
        novelty_quantiles_Q=np.linspace(0, 1, 11),
    )
