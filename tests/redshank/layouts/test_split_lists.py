from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from redshank.errors import InputError
from redshank.layouts import read_layout

from .conftest import touch

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")


def write_lists(folder: Path, lines: dict[str, str], suffix: str = "_kfold") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in lines.items():
        (folder / f"{name}{suffix}.txt").write_text(text)


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    """Dassl's form: images/ and splits/, the first crossval label of art_painting a stray 0."""
    for domain in DOMAINS:
        touch(tmp_path / "images", *(f"{domain}/dog/{n}.jpg" for n in range(4)))
        stray = 0 if domain == "art_painting" else 1
        lines = [f"{domain}/dog/{n}.jpg 1\n" for n in range(4)]
        write_lists(
            tmp_path / "splits",
            {
                f"{domain}_train": lines[0] + lines[1],
                f"{domain}_crossval": f"{domain}/dog/2.jpg {stray}\n" + lines[2],
                f"{domain}_test": "".join(lines),
            },
        )
    return tmp_path


def test_pacs_of_dassl_takes_the_folders_name(pacs: Path) -> None:
    listing = read_layout(pacs)
    assert listing.layout == "pacs"
    assert listing.classes == ("dog",)
    assert listing.root == pacs / "images"
    art = [(item.path, item.split) for item in listing.items if item.domain == "art_painting"]
    assert art == [
        ("art_painting/dog/0.jpg", "train"),
        ("art_painting/dog/1.jpg", "train"),
        ("art_painting/dog/2.jpg", "val"),
        ("art_painting/dog/3.jpg", "test"),
    ]
    assert listing.notes == (
        "splits are those of 12 lists like splits/art_painting_train_kfold.txt",
        "1 listed labels are wrong, the folder's name was taken: "
        "splits/art_painting_crossval_kfold.txt says 0 for art_painting/dog/2.jpg",
    )


def test_what_is_in_no_list_and_what_is_not_there_is_said(pacs: Path) -> None:
    touch(pacs / "images", "photo/dog/new.jpg")
    (pacs / "images/sketch/dog/3.jpg").unlink()
    listing = read_layout(pacs)
    assert len(listing.items) == 15
    assert listing.notes[-2:] == (
        "1 images are in no list and were left out, like photo/dog/new.jpg",
        "1 listed images are not there, like sketch/dog/3.jpg",
    )


def test_domainnet_lists_lie_beside_the_domains_and_count_from_zero(tmp_path: Path) -> None:
    domains = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
    for domain in domains:
        touch(tmp_path, f"{domain}/axe/{domain}_1.jpg", f"{domain}/the axe/{domain} 2.jpg")
        write_lists(tmp_path, {f"{domain}_train": f"{domain}/axe/{domain}_1.jpg 0\n"}, "")
        write_lists(tmp_path, {f"{domain}_test": f"{domain}/the axe/{domain} 2.jpg 1\n"}, "")
    listing = read_layout(tmp_path)
    assert listing.layout == "domainnet"
    assert [item.split for item in listing.items] == ["train", "test"] * 6
    assert listing.classes == ("axe", "the axe")


def test_lists_of_other_data_and_broken_lines_are_refused(pacs: Path) -> None:
    first = pacs / "splits/photo_train_kfold.txt"
    first.write_text("photo/dog/0.jpg\n")
    with pytest.raises(InputError, match=r"photo_train_kfold.txt, line 1: .* is not `path label`"):
        read_layout(pacs)
    for path in (pacs / "splits").iterdir():
        path.write_text("kfold/photo/dog/0.jpg 1\n")
    with pytest.raises(InputError, match="list none of the images"):
        read_layout(pacs)


def test_the_same_images_have_the_same_items_in_both_forms(pacs: Path) -> None:
    dassl = read_layout(pacs)
    for path in (pacs / "splits").iterdir():
        path.unlink()
    domainbed = read_layout(pacs)
    assert domainbed.items == tuple(
        dataclasses.replace(item, split="train") for item in dassl.items
    )
