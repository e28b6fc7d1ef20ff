"""A network of twelve numbers in a real bundle: logits = mean colour @ weights + bias."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from redshank.bundle import MODEL_FILE, Provenance
from redshank.cells import NUM_CONFIDENCE_BINS
from redshank.files import new_id, publish_folder, rfc3339
from redshank.reference import Reference
from redshank.run import Run
from tests.colour_bundle import CLASSES, complete_bundle, write_colour_graph

SIZE = 16
"""Height and width in pixels (the smallest that training takes)."""
WEIGHTS_FILE = "weights.npz"

Floats = npt.NDArray[np.float32]


def write_tiny_model(folder: Path, weights_EC: Floats, bias_C: Floats) -> None:
    """`model.onnx` and its weights; needs the onnx package, which the stages do not."""
    folder.mkdir(parents=True)
    write_colour_graph(folder / MODEL_FILE, side=SIZE, weight_EC=weights_EC, bias_C=bias_C)
    np.savez(folder / WEIGHTS_FILE, weights_EC=weights_EC, bias_C=bias_C)


def write_tiny_bundle(
    bundles: Path, model: Path, *, run: Run, parent_bundle: str | None = None
) -> Path:
    """A bundle of a prepared model."""
    with np.load(model / WEIGHTS_FILE) as arrays:
        weights_EC, bias_C = arrays["weights_EC"], arrays["bias_C"]
    bundle_id = new_id(time.time())
    with publish_folder(bundles / bundle_id) as folder:
        (folder / MODEL_FILE).write_bytes((model / MODEL_FILE).read_bytes())
        complete_bundle(
            folder,
            _reference(len(run.source_domains)),
            side=SIZE,
            weight_EC=weights_EC,
            bias_C=bias_C,
            bundle_id=bundle_id,
            created_at=rfc3339(time.time()),
            source_domains=run.source_domains,
            target_domains=run.target_domains,
            temperature=1.0,
            temperature_fitted_on="none",
            provenance=Provenance(run.run_id, parent_bundle, "test", run.data_sha256, "", "", 20),
        )
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
