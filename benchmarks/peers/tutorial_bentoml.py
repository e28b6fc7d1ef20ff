"""What BentoML's tutorials show: a class with one API that takes a `PIL.Image`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from PIL import Image as PILImage

from redshank.infer import load_model


@bentoml.service
class Tutorial:
    """One model, default settings."""

    def __init__(self) -> None:
        self.model = load_model(Path(os.environ["REDSHANK_PEER_BUNDLE"]))

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: PILImage.Image) -> dict[str, Any]:
        """Class and confidence of one image."""
        spec = self.model.bundle.input
        pixels = np.asarray(image.convert("RGB").resize((spec.width, spec.height)))
        found = self.model.predict(pixels[np.newaxis])
        name = self.model.bundle.classes[int(found.class_N[0])]
        return {"class": name, "confidence": float(found.confidence_N[0])}
