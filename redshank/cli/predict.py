"""Classify image files with a bundle, without a server: one line, or one JSON object, a file.

BUNDLE is a folder, a bundle id, or the name of a released model (its live bundle). FILE may be a
folder: then all images below it. A file that is no image is reported on its line; then the exit
status is 1. `serving.precision` decides which graph of the bundle answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from redshank.bundle import BUNDLE_FILE
from redshank.errors import InputError, UsageError
from redshank.registry import Registry
from redshank.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `redshank predict`."""
    parser.add_argument("bundle", metavar="BUNDLE", help="bundle folder, bundle id or model name")
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+")
    parser.add_argument(
        "--top", type=int, default=3, metavar="K", help="classes a file (default 3)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Predict every file; 1 when one of them failed."""
    from redshank.infer import load_served

    if options.top < 1:
        raise UsageError(f"--top is {options.top}, expected at least 1")
    model = load_served(_bundle_folder(options.bundle, settings), settings.serving.precision)
    failed = False
    for path in _images(options.files):
        answer = _answer(model, path, options.top, settings.serving.max_pixels)
        failed = failed or "error" in answer
        if options.json:
            print(json.dumps(answer, ensure_ascii=False))
        elif "error" in answer:
            print(f"{path}: {answer['error']['message']}", file=sys.stderr)
        else:
            note = "  (abstain)" if answer["abstain"] else ""
            print(f"{path}  {answer['class']}  {answer['confidence']:.3f}{note}")
    return int(failed)


def _images(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given, in place of a folder the images below it; one without any stays."""
    from redshank.layouts.listing import is_image

    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else ()
        yield from [each for each in below if is_image(each.name) and each.is_file()] or [path]


def _answer(model: Any, path: Path, top: int, max_pixels: int) -> dict[str, Any]:
    from redshank.infer import top_classes
    from redshank.preprocess import ImageError, decode_image

    bundle = model.bundle
    size = (bundle.input.height, bundle.input.width)
    try:
        image_HW3 = decode_image(path.read_bytes(), *size, max_pixels=max_pixels)
    except ImageError as error:
        return {"file": str(path), "error": {"code": error.code, "message": error.message}}
    except OSError as error:
        why = "a folder without images" if path.is_dir() else f"cannot be read: {error.strerror}"
        code = "unreadable" if path.is_file() else "not_found"
        return {"file": str(path), "error": {"code": code, "message": why}}
    found = model.predict(image_HW3[None])
    best = top_classes(found.probabilities_NC[0], bundle.classes, k=top)
    return {
        "file": str(path),
        "version": bundle.bundle_id,
        "precision": model.precision,
        "class": bundle.classes[int(found.class_N[0])],
        "confidence": round(float(found.confidence_N[0]), 6),
        "abstain": bool(found.confidence_N[0] < bundle.abstain_below),
        "novelty": round(float(found.novelty_N[0]), 4),
        "top": [{"class": c.class_name, "confidence": round(c.confidence, 6)} for c in best],
    }


def _bundle_folder(text: str, settings: Settings) -> Path:
    registry = Registry(settings.home.path("models"), settings.home.path("bundles"))
    if (Path(text) / BUNDLE_FILE).is_file():
        return Path(text)
    if text in registry.names():
        return registry.bundle_path(registry.read(text).live)
    among = registry.bundle_path(text)
    if among.is_dir() or Path(text).is_dir():
        return among if among.is_dir() else Path(text)
    raise InputError(
        f"{text} is no folder of a bundle, no bundle in {registry.bundles} and no released model "
        f"(released: {', '.join(registry.names()) or 'none'})",
        hint="Make a bundle: redshank export RUN",
    )
