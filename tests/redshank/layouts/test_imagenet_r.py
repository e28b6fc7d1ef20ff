from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import InputError
from redshank.layouts import read_layout

from .conftest import touch

NAMES = ("n01443537/art_0.jpg", "n01443537/sticker_12.jpg", "n01484850/videogame_3.jpg")


def test_the_style_is_the_domain_and_the_root_has_other_files(tmp_path: Path) -> None:
    touch(tmp_path / "imagenet-r", *NAMES, "README.txt", "n01443537/notes.txt")
    listing = read_layout(tmp_path)
    assert listing.layout == "imagenet-r"
    assert listing.root == tmp_path / "imagenet-r"
    assert [(item.path, item.domain, item.label) for item in listing.items] == [
        ("n01443537/art_0.jpg", "art", "n01443537"),
        ("n01443537/sticker_12.jpg", "sticker", "n01443537"),
        ("n01484850/videogame_3.jpg", "videogame", "n01484850"),
    ]
    assert listing.ignored == ("README.txt", "n01443537/notes.txt")


def test_plain_imagenet_is_not_taken_for_it(tmp_path: Path) -> None:
    touch(tmp_path, "n01443537/n01443537_1.JPEG", "n01484850/n01484850_2.JPEG")
    assert read_layout(tmp_path).layout == "folders"


def test_names_by_request_may_have_any_style(tmp_path: Path) -> None:
    touch(tmp_path, "n01443537/line_art_7.jpg", "other/art_1.jpg")
    listing = read_layout(tmp_path, "imagenet-r")
    assert [item.domain for item in listing.items] == ["line_art"]
    assert listing.notes == (
        "folder other is no WordNet id: passed over",
        "not among ImageNet-R's styles, domains all the same: line_art",
    )
    touch(tmp_path, "n01443537/7.jpg")
    with pytest.raises(InputError, match=r"n01443537/7\.jpg: the name has no style"):
        read_layout(tmp_path, "imagenet-r")


def test_other_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "cat/art_1.jpg")
    with pytest.raises(InputError, match="no folder is a WordNet id"):
        read_layout(tmp_path, "imagenet-r")
