from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import InputError, UsageError
from redshank.layouts import LAYOUTS, Listing, read_layout

from .conftest import touch

PACS = ("art_painting/dog/pic 1.jpg", "cartoon/dog/1.jpg", "photo/cat/1.jpg", "sketch/dog/1.png")
OFFICE_HOME = (
    "Art/001_Alarm_Clock/00001.jpg",
    "Clipart/Alarm_Clock/00001.jpg",
    "Product/Bike/00001.jpg",
    "Real World/Alarm_Clock/00001.jpg",
)


def facts(listing: Listing) -> list[tuple[str, str, str, str]]:
    return [(item.path, item.domain, item.label, item.split) for item in listing.items]


def test_pacs_of_domainbed(tmp_path: Path) -> None:
    touch(tmp_path, *PACS, "photo/dog/Thumbs.db", "readme.txt")
    touch(tmp_path, "cartoon/giraffe/1.JPEG")  # a class that the other domains lack
    listing = read_layout(tmp_path)
    assert listing.layout == "pacs"
    assert listing.classes == ("cat", "dog", "giraffe")
    assert facts(listing)[0] == ("art_painting/dog/pic 1.jpg", "art_painting", "dog", "train")
    assert listing.ignored == ("photo/dog/Thumbs.db", "readme.txt")


@pytest.mark.parametrize("level", ["PACS", "images", "pacs/images"])
def test_a_level_above_the_domains_changes_no_path(tmp_path: Path, level: str) -> None:
    touch(tmp_path / "plain", *PACS)
    touch(tmp_path / "deep" / level, *PACS)
    plain, deep = read_layout(tmp_path / "plain"), read_layout(tmp_path / "deep")
    assert deep.layout == "pacs"
    assert deep.root == tmp_path / "deep" / level
    assert deep.items == plain.items


def test_office_home_has_a_space_and_may_have_numbers(tmp_path: Path) -> None:
    touch(tmp_path, *OFFICE_HOME, "ImageInfo.csv", "imagelist.txt")
    listing = read_layout(tmp_path)
    assert listing.layout == "office-home"
    assert listing.classes == ("Alarm_Clock", "Bike")
    assert facts(listing)[-1] == (
        "Real World/Alarm_Clock/00001.jpg",
        "Real World",
        "Alarm_Clock",
        "train",
    )


def test_office_home_of_dassl(tmp_path: Path) -> None:
    names = ("art/train/Bed/1.jpg", "art/val/Bed/2.jpg", "clipart/train/Bed/1.jpg")
    touch(tmp_path / "office_home_dg", *names)
    touch(tmp_path / "office_home_dg", "product/train/Bed/1.jpg", "real_world/val/Bed/1.jpg")
    listing = read_layout(tmp_path)
    assert listing.layout == "office-home"
    assert facts(listing)[:2] == [
        ("art/train/Bed/1.jpg", "art", "Bed", "train"),
        ("art/val/Bed/2.jpg", "art", "Bed", "val"),
    ]


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("vlcs", ("Caltech101/bird/1.jpg", "LabelMe/car/1.jpg", "SUN09/dog/1.jpg")),
        ("vlcs", ("CALTECH/train/0/1.jpg", "LABELME/train/0/1.jpg", "SUN/test/1/1.jpg")),
        (
            "terra-incognita",
            ("location_38/bobcat/1.jpg", "location_43/cat/1.jpg", "location_46/dog/1.jpg"),
        ),
    ],
)
def test_vlcs_and_terra_incognita(tmp_path: Path, layout: str, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names)
    assert read_layout(tmp_path).layout == "folders"  # one domain is missing
    last = {"vlcs": "VOC2007/person/1.jpg", "terra-incognita": "location_100/empty/1.jpg"}[layout]
    if names[0].startswith("CALTECH"):
        last = "PASCAL/train/0/1.jpg"
    touch(tmp_path, last)
    listing = read_layout(tmp_path)
    assert listing.layout == layout
    assert len(listing.items) == 4
    assert listing.items == read_layout(tmp_path, layout).items


@pytest.mark.parametrize("level", ["", "images/"])
def test_digits_dg_with_and_without_an_images_level(tmp_path: Path, level: str) -> None:
    for domain in ("mnist", "mnist_m", "svhn", "syn"):
        touch(tmp_path, f"{level}{domain}/train/3/1.jpg", f"{level}{domain}/val/4/2.jpg")
    listing = read_layout(tmp_path)
    assert listing.layout == "digits-dg"
    assert facts(listing)[:2] == [
        ("mnist/train/3/1.jpg", "mnist", "3", "train"),
        ("mnist/val/4/2.jpg", "mnist", "4", "val"),
    ]


def test_domainnet_has_six_domains_and_no_lists_at_need(tmp_path: Path) -> None:
    for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"):
        touch(tmp_path, f"{domain}/t-shirt/{domain}_327_000001.jpg")
    listing = read_layout(tmp_path)
    assert (listing.layout, listing.classes, len(listing.items)) == ("domainnet", ("t-shirt",), 6)


def test_everyday_names_alone_are_no_benchmark(tmp_path: Path) -> None:
    touch(tmp_path, *(name.replace("/dog/", "/tulip/").replace("/cat/", "/rose/") for name in PACS))
    assert read_layout(tmp_path).layout == "folders"


@pytest.mark.parametrize("extra", ["plush/dog/1.jpg", "field/1.jpg"])
def test_images_elsewhere_speak_against_a_benchmark(tmp_path: Path, extra: str) -> None:
    touch(tmp_path, *PACS, extra)
    listing = read_layout(tmp_path)
    assert listing.layout == "folders"
    assert extra in {item.path for item in listing.items}
    named = read_layout(tmp_path, "pacs")
    assert len(named.items) == 4
    assert named.notes == (f"folder {extra.split('/')[0]} is no domain of pacs: passed over",)


def test_images_beside_the_images_folder_are_not_lost_without_a_word(tmp_path: Path) -> None:
    touch(tmp_path / "images", *PACS)
    touch(tmp_path, "more/dog/1.jpg")
    with pytest.raises(InputError, match="lies deeper"):
        read_layout(tmp_path)
    assert "1 images outside images were passed over" in read_layout(tmp_path, "pacs").notes[0]


def test_a_benchmark_that_is_not_there_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, *PACS[:3])
    with pytest.raises(
        InputError, match=r"is not pacs: .* found art_painting, cartoon, photo"
    ) as e:
        read_layout(tmp_path, "pacs")
    assert "--layout folders" in e.value.hint


def test_tables_have_no_layout_and_only_fmow_has_domains_to_choose(tmp_path: Path) -> None:
    touch(tmp_path, *PACS, "t.csv")
    with pytest.raises(InputError, match=r"t\.csv is no folder"):
        read_layout(tmp_path / "t.csv", "pacs")
    with pytest.raises(UsageError, match="the layout is pacs"):
        read_layout(tmp_path, fmow_domains="year")


def test_every_name_has_a_reader_that_refuses_an_empty_folder(tmp_path: Path) -> None:
    for name in LAYOUTS:
        with pytest.raises(InputError):
            read_layout(tmp_path, name)
