from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import InputError
from redshank.layouts import Listing, read_layout

from .conftest import touch

ROWS = (  # split, category, timestamp, country_code
    ("seq", "zoo", "2010-05-01T00:00:00Z", "USA"),
    ("train", "airport", "2012-12-31T23:59:59Z", "USA"),
    ("seq", "zoo", "2011-05-01T00:00:00Z", "USA"),
    ("train", "zoo", "2013-01-01T00:00:00Z", "USA"),  # too late for train: nowhere
    ("val", "zoo", "2014-06-01T00:00:00Z", "KEN"),
    ("val", "zoo", "2012-06-01T00:00:00Z", "KEN"),  # in distribution: nowhere
    ("test", "airport", "2016-01-01T00:00:00Z", "XXX"),
    ("test", "airport", "2015-12-31T23:59:59.9Z", "KEN"),
    ("test", "zoo", "2017-03-01T00:00:00Z", "ATA"),  # a code with an empty region
)


@pytest.fixture
def fmow(tmp_path: Path) -> Path:
    root = tmp_path / "fmow_v1.1"
    touch(root, *(f"images/rgb_img_{n}.png" for n in range(len(ROWS))))
    lines = [f"{n},{','.join(row)},0" for n, row in enumerate(ROWS)]
    head = ",split,category,timestamp,country_code,cloud_cover"
    (root / "rgb_metadata.csv").write_text("\n".join([head, *lines]) + "\n")
    (root / "country_code_mapping.csv").write_text(
        "name,alpha-2,alpha-3,region\nUnited States,US,USA,Americas\n"
        '"Kenya, Republic of",KE,KEN,Africa\nAntarctica,AQ,ATA,\n'
    )
    return root


def facts(listing: Listing) -> list[tuple[str, str, str, str]]:
    return [(item.path, item.domain, item.label, item.split) for item in listing.items]


def test_the_number_counts_rows_that_are_dropped(fmow: Path) -> None:
    listing = read_layout(fmow)
    assert listing.layout == "fmow"
    assert facts(listing) == [
        ("images/rgb_img_1.png", "Americas", "airport", "train"),
        ("images/rgb_img_4.png", "Africa", "zoo", "val"),
        ("images/rgb_img_6.png", "Other", "airport", "test"),
        ("images/rgb_img_8.png", "Other", "zoo", "test"),
    ]
    assert listing.items[0].captured_at == "2012-12-31T23:59:59.000Z"
    assert set(listing.notes) == {
        "2 rows of `seq` are in no official split",
        "1 rows of `train` are in no official split",
        "1 rows of `val` are in no official split",
        "1 rows of `test` are in no official split",
    }


def test_domains_are_regions_years_or_both(fmow: Path) -> None:
    years = read_layout(fmow.parent, fmow_domains="year")
    assert [item.domain for item in years.items] == ["2012", "2014", "2016", "2017"]
    both = read_layout(fmow, "fmow", fmow_domains="both")
    assert [item.domain for item in both.items][:2] == ["Americas 2012", "Africa 2014"]


def test_images_that_were_not_unpacked_are_counted(fmow: Path) -> None:
    (fmow / "images/rgb_img_4.png").unlink()
    assert "1 images of the metadata are not there, like rgb_img_4.png" in read_layout(fmow).notes


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("rgb_metadata.csv", "timestamp", "time", "rgb_metadata.csv has no column 'timestamp'"),
        ("rgb_metadata.csv", "2014-06-01T00", "June 2014", "row 4: 'June 2014:00:00Z' is no time"),
        ("country_code_mapping.csv", "region", "continent", "has no column 'region'"),
    ],
)
def test_other_tables_are_refused(fmow: Path, table: str, old: str, new: str, message: str) -> None:
    path = fmow / table
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        read_layout(fmow)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/rgb_img_0.png")
    with pytest.raises(InputError, match=r"is not fmow: expected rgb_metadata\.csv"):
        read_layout(tmp_path, "fmow")
