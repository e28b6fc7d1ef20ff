from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.dataset import Item, write_manifest
from redshank.settings import TrainingSettings

MakeManifest = Callable[..., Path]

SMALL = dataclasses.replace(
    TrainingSettings(),
    width=4,
    image_size=16,
    steps=12,
    labelled_per_step=6,
    unlabelled_per_step=8,
    checkpoint_every=4,
    held_out="off",
    threads=1,
    device="cpu",
)


def draw(rng: np.random.Generator, label: int, tint: tuple[int, int, int]) -> Image.Image:
    """A bright bar, upright for class 0 and lying for class 1, on a tinted noisy ground."""
    image = rng.integers(0, 60, (16, 16, 3)) + np.array(tint)
    place = int(rng.integers(4, 10))
    bar = (slice(None), slice(place, place + 3)) if label == 0 else (slice(place, place + 3),)
    image[bar] = 230
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


TINTS = {"north": (60, 0, 0), "south": (0, 60, 0), "west": (0, 0, 60), "field": (40, 40, 0)}


@pytest.fixture(scope="session")
def make_manifest(tmp_path_factory: pytest.TempPathFactory) -> MakeManifest:
    """Writes images and a manifest; returns its path.

    `north`, `south` and `west` are source domains (6 labelled, 14 unlabelled training images,
    10 for validation each), `field` has no labels.
    """

    def make(domains: tuple[str, ...] = ("north", "south"), unlabelled: int = 14) -> Path:
        root = tmp_path_factory.mktemp("data")
        rng = np.random.default_rng(0)
        items = []
        for domain in domains:
            for number in range(6 + unlabelled + 10):
                label = number % 2
                path = f"{domain}-{number}.png"
                draw(rng, label, TINTS[domain]).save(root / path)
                name = ("upright", "lying")[label]
                split = "val" if number >= 6 + unlabelled else "train"
                known = domain != "field" and (number < 6 or split == "val")
                items.append(
                    Item(path, domain, name, split)  # type: ignore[arg-type]
                    if known
                    else Item(path, domain, "", split, hidden_label=name)  # type: ignore[arg-type]
                )
        manifest = root / "manifest.jsonl"
        write_manifest(manifest, root=".", classes=("upright", "lying"), items=items)
        return manifest

    return make
