"""The latent spaces of runs, side by side: figures and pictures of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import InputError
from redshank.preprocess import decode_image
from redshank.run import MANIFEST_FILE, WEIGHTS_FILE, Run, read_run
from redshank.separability import Separability, measure_separability, spread_images


@dataclass(frozen=True)
class RunLatent:
    """One run's features of the compared images."""

    name: str
    """The run's folder."""
    method: str
    """What it was trained with, in words."""
    feature_NE: npt.NDArray[np.float32]
    separability: Separability


@dataclass(frozen=True)
class LatentStory:
    """Runs with the images that all of them were asked about."""

    manifest: Path
    items: tuple[Item, ...]
    unseen: tuple[str, ...]
    """Domains that no run trained on."""
    runs: tuple[RunLatent, ...]


def compare_runs(
    folders: Sequence[Path], *, most: int, manifest: Path | None = None
) -> LatentStory:
    """Embeds the same images with every run and measures what their features tell apart.

    Args:
        folders: runs of the same classes and source domains.
        most: images in all, evenly from every domain that has known classes.
        manifest: where they come from; None: the first run's own.

    Raises:
        InputError: the runs do not compare, or an image cannot be read.
    """
    runs = [read_run(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        _check_same(folders[0], runs[0], folder, run)
    path = manifest or folders[0] / MANIFEST_FILE
    images = read_manifest(path)
    items = tuple(images.items[place] for place in spread_images(images.items, most))
    if not items:
        raise InputError(f"{path} has no image of a known class")
    trained = {*runs[0].source_domains, *runs[0].target_domains}
    unseen = tuple(domain for domain in images.domains if domain not in trained)
    latents = [
        _latent(folder, run, images, items, unseen)
        for folder, run in zip(folders, runs, strict=True)
    ]
    return LatentStory(path, items, unseen, tuple(latents))


def _check_same(first_folder: Path, first: Run, folder: Path, run: Run) -> None:
    for name in ("classes", "source_domains", "target_domains"):
        one, other = getattr(first, name), getattr(run, name)
        if one != other:
            raise InputError(
                f"{first_folder} has the {name.replace('_', ' ')} {', '.join(one) or 'none'}, "
                f"{folder} has {', '.join(other) or 'none'}",
                hint="Compare runs of one data set with the same domain left out.",
            )


def _latent(
    folder: Path, run: Run, images: Manifest, items: Sequence[Item], unseen: Sequence[str]
) -> RunLatent:
    from redshank.nn.checkpoint import load_model
    from redshank.nn.embedding import embed

    size = run.backbone.image_size
    model = load_model(folder / WEIGHTS_FILE)
    parts = []
    for start in range(0, len(items), 256):  # pixels of all images at once may be gigabytes
        batch = items[start : start + 256]
        parts.append(
            embed(model, np.stack([decode_image(images.read_image(i), size, size) for i in batch]))
        )
    feature_NE = np.concatenate(parts)
    classes = [item.label or item.hidden_label for item in items]
    domains = [item.domain for item in items]
    found = measure_separability(feature_NE, classes, domains, unseen)
    return RunLatent(folder.name, describe_method(run.settings), feature_NE, found)


def describe_method(settings: dict[str, Any]) -> str:
    """`fixmatch + FixCLR 0.1, seed 0`, from a run's settings."""
    weight = settings.get("fixclr", {}).get("weight", 0.0)
    method = settings.get("method", "fixmatch")
    return f"{method}{f' + FixCLR {weight:g}' if weight else ''}, seed {settings.get('seed', '?')}"
