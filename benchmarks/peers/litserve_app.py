"""LitServe as its documentation shows it. `python -m benchmarks.peers.litserve_app PORT`.

LitServe looks at the annotation of `request`, so annotations must be types, not text, here.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request  # type: ignore[import-not-found]  # of the peers' own environment
from litserve import LitAPI, LitServer  # type: ignore[import-not-found]

from redshank.infer import load_model
from redshank.preprocess import decode_image


class Classifier(LitAPI):  # type: ignore[misc]  # litserve is not in the project's environment
    """One model."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the model in the worker."""
        self.model = load_model(Path(os.environ["REDSHANK_PEER_BUNDLE"]))

    def decode_request(self, request: Request) -> Any:
        """The image of the form."""
        spec = self.model.bundle.input
        data: bytes = request["image"].file.read()
        return decode_image(data, spec.height, spec.width)

    def predict(self, x: Any) -> dict[str, Any]:
        """Class and confidence of one image."""
        found = self.model.predict(x[np.newaxis])
        name = self.model.bundle.classes[int(found.class_N[0])]
        return {"class": name, "confidence": float(found.confidence_N[0])}

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The answer as JSON."""
        return output


if __name__ == "__main__":
    server = LitServer(Classifier(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="error",
    )
