import os
from pathlib import Path

import pytest

from redshank.errors import InputError
from redshank.layouts import read_layout, scan_folder

from .conftest import touch


def test_classes_are_the_union_over_domains(tmp_path: Path) -> None:
    touch(tmp_path, "photo/cat/1.jpg", "photo/dog/1.JPG", "sketch/bird/1.png")
    listing = scan_folder(tmp_path)
    assert listing.classes == ("bird", "cat", "dog")
    assert [(item.path, item.domain, item.label) for item in listing.items] == [
        ("photo/cat/1.jpg", "photo", "cat"),
        ("photo/dog/1.JPG", "photo", "dog"),
        ("sketch/bird/1.png", "sketch", "bird"),
    ]


def test_accents_of_other_systems_make_no_second_class(tmp_path: Path) -> None:
    touch(tmp_path, "me\u0301tro/he\u0301ron/1.jpg", "street/h\u00e9ron/2.jpg")
    listing = scan_folder(tmp_path)
    assert listing.classes == ("h\u00e9ron",)
    assert [item.domain for item in listing.items] == ["m\u00e9tro", "street"]
    assert all((tmp_path / item.path).is_file() for item in listing.items)


def test_images_straight_in_a_domain_are_unlabelled(tmp_path: Path) -> None:
    touch(tmp_path, "gate-7/b.png", "gate-7/a.png", "photo/cat/1.jpg")
    items = [item for item in scan_folder(tmp_path).items if item.domain == "gate-7"]
    assert [(item.path, item.label, item.split) for item in items] == [
        ("gate-7/a.png", "", "train"),
        ("gate-7/b.png", "", "train"),
    ]


def test_split_folders_are_read_as_splits(tmp_path: Path) -> None:
    touch(tmp_path, "syn/train/3/1.jpg", "syn/crossval/3/2.jpg", "syn/test/4/3.jpg")
    found = [(item.label, item.split) for item in scan_folder(tmp_path).items]
    assert sorted(found) == [("3", "train"), ("3", "val"), ("4", "test")]


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "toys/train/1.jpg", "toys/car/1.jpg")
    assert scan_folder(tmp_path).classes == ("car", "train")


def test_other_files_are_named_not_taken(tmp_path: Path) -> None:
    touch(tmp_path, "photo/cat/1.jpg", "photo/cat/notes.txt", "README", "photo/.DS_Store")
    listing = scan_folder(tmp_path)
    assert len(listing.items) == 1
    assert listing.ignored == ("README", "photo/cat/notes.txt")


def test_images_that_lie_deeper_are_refused_not_lost(tmp_path: Path) -> None:
    touch(tmp_path, "photo/cat/1.jpg", "photo/cat/.thumbs/1.jpg", "photo/cat/notes/a.txt")
    assert len(scan_folder(tmp_path).items) == 1
    touch(tmp_path, "photo/cat/2021/may/2.jpg")
    with pytest.raises(InputError, match=r"2021/may/2\.jpg lies deeper"):
        scan_folder(tmp_path)


def test_splits_are_not_taken_for_domains(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "Val/cat/2.jpg")
    with pytest.raises(InputError, match="holds Val, train: splits, not domains") as caught:
        scan_folder(tmp_path)
    assert "ROOT/<domain>/train/<class>" in caught.value.hint
    touch(tmp_path, "photo/cat/1.jpg")
    assert len(scan_folder(tmp_path).items) == 3


def test_domains_without_images_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "photo/cat/1.jpg", "gate-7/README")
    (tmp_path / "gate-8").mkdir()
    assert scan_folder(tmp_path).empty == ("gate-7", "gate-8")


def test_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image") as caught:
        scan_folder(tmp_path)
    assert "<domain>/<class>" in caught.value.hint


def test_read_layout_refuses_what_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_layout(tmp_path / "nowhere")
    touch(tmp_path, "images.xlsx")
    with pytest.raises(InputError, match="neither a folder nor a table"):
        read_layout(tmp_path / "images.xlsx")


def test_a_folder_full_beside_splits_is_the_same_again(tmp_path: Path) -> None:
    touch(tmp_path, "SUN/train/1/a.jpg", "SUN/crossval/1/b.jpg", "SUN/full/1/a.jpg")
    listing = scan_folder(tmp_path)
    assert [item.path for item in listing.items] == ["SUN/crossval/1/b.jpg", "SUN/train/1/a.jpg"]
    assert listing.notes == ("SUN/full holds the same images again: passed over",)


def test_names_that_are_no_files_are_faults(tmp_path: Path) -> None:
    touch(tmp_path, "photo/cat/1.jpg", "gate/1.jpg")
    (tmp_path / "photo/cat/2.jpg").mkdir()
    (tmp_path / "gate/3.jpg").mkdir()
    (tmp_path / "photo/cat/4.jpg").symlink_to("gone.jpg")
    os.mkfifo(tmp_path / "gate/5.jpg")
    listing = scan_folder(tmp_path)
    assert [item.path for item in listing.items] == ["gate/1.jpg", "photo/cat/1.jpg"]
    assert {(fault.path, fault.reason) for fault in listing.faults} == {
        ("photo/cat/2.jpg", "is a folder"),
        ("gate/3.jpg", "is a folder"),
        ("photo/cat/4.jpg", "a link to nothing"),
        ("gate/5.jpg", "neither a file nor a folder"),
    }


def test_a_sites_own_folder_is_told_from_an_empty_one(tmp_path: Path) -> None:
    touch(tmp_path, "2.jpg", "10.jpg", "notes.txt")
    with pytest.raises(InputError, match="holds 2 images, like 10") as caught:
        scan_folder(tmp_path)
    assert "folder above" in str(caught.value.hint)
