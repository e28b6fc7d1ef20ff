from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.dataset import Item, write_manifest
from redshank.report import latent
from redshank.report.latent import latent_space


class FakeModel:
    """Its embedding is the mean colour; two domains of two colours are two clusters."""

    class bundle:  # noqa: N801  # stands in for an attribute
        class input:  # noqa: N801
            height = width = 8

    def predict(self, images_NHW3: np.ndarray) -> object:
        class Found:
            embedding_NE = images_NHW3.astype(np.float32).mean((1, 2)) / 255

        return Found


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    items = []
    for domain, colour in (("north", 30), ("south", 220)):
        for number in range(60):
            image = np.full((8, 8, 3), colour) + rng.integers(0, 20, 3)
            name = f"{domain}-{number}.png"
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / name)
            split = "val" if number < 50 else "train"
            label = "cat" if domain == "north" else ""
            items.append(Item(name, domain, label, split))  # type: ignore[arg-type]  # a literal
    items.append(Item("gone.png", "north", "cat", "val"))
    write_manifest(tmp_path / "m.jsonl", root=".", classes=["cat"], items=items)
    return tmp_path / "m.jsonl"


def test_held_out_images_of_every_domain_are_laid_out(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent, "load_model", lambda _folder: FakeModel())
    found = latent_space(Path("bundle"), [manifest], per_domain=51)
    assert found is not None
    assert found.points_N2.shape == (100, 2)
    assert found.domains == ("north",) * 50 + ("south",) * 50
    assert found.classes == ("cat",) * 50 + ("unknown",) * 50
    north, south = found.points_N2[:50], found.points_N2[50:]
    apart = np.linalg.norm(north.mean(0) - south.mean(0))
    assert apart > np.linalg.norm(north - north.mean(0), axis=1).mean()


def test_too_few_images_give_no_figure(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "load_model", lambda _folder: FakeModel())
    assert latent_space(Path("bundle"), [manifest], per_domain=10) is None
