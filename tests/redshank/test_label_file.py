from __future__ import annotations

import csv
from pathlib import Path

import pytest

from redshank.errors import InputError
from redshank.fieldstore import SCHEMA, FieldImage
from redshank.label_file import (
    UNCLEAR_FOLDER,
    check_classes,
    read_labels,
    read_table,
    write_folder,
    write_table,
)

A, B, C = "a" * 64, "b" * 64, "c" * 64


def table(*lines: str) -> bytes:
    return "\n".join(["image_sha256,label", *lines]).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no column 'image_sha256'"),
        (b"image_sha256\n", "no column 'label'"),
        (table("xyz,gull"), "line 2: 'xyz' is no sha256 .* Nothing was imported"),
        (table(f"{A},gull", f"{A},gull", f"{A},tern"), "line 4: .* 'gull' in line 2. Nothing"),
        (b"\xff\xfe\x00", "UTF-8"),
        (table(), "labels.csv names no image"),
    ],
)
def test_wrong_tables_are_named_by_line(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_table(data, source="labels.csv")


def test_lines_without_a_label_wait_and_repeated_ones_do_no_harm() -> None:
    data = b"\xef\xbb\xbf" + table(f"{A},gull", f"{B},", f"{A.upper()}, gull ", C)
    found = read_table(data, source="x")
    assert found.rows == ((A, "gull"),)
    assert (found.empty, found.repeated) == (2, 1)
    later = read_table(table(f"{A},", f"{A},gull"), source="x")
    assert (later.rows, later.empty) == (((A, "gull"),), 0)


def test_wrong_class_names_come_with_the_right_one() -> None:
    rows = [(A, "gul"), (B, "gul"), (C, "?")]
    with pytest.raises(InputError, match=r"'gul' \(2 images. Did you mean 'gull'\?\)") as raised:
        check_classes(rows, ("gull", "tern"), source="labels.csv", model="birds")
    assert "--other-classes" in raised.value.hint
    check_classes([(A, "gull"), (C, "?")], ("gull", "tern"), source="x", model="birds")
    many = [(f"{n:064x}", f"odd {n}") for n in range(9)]
    with pytest.raises(InputError, match="and 4 others"):
        check_classes(many, ("gull",), source="x", model="birds")


def image(folder: Path, digest: str) -> FieldImage:
    path = folder / f"{digest}.png"
    path.write_bytes(digest.encode())
    return FieldImage(
        SCHEMA, path.name, "pier, east", digest, 64, 1e9, "", "", "", "", 0.5, 0.5, path
    )


def test_a_table_is_read_back_with_what_was_filled_in(tmp_path: Path) -> None:
    out = tmp_path / "queue.csv"
    write_table(out, [image(tmp_path, digest) for digest in (B, A)])
    assert (read_labels(out).rows, read_labels(out).empty) == ((), 2)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["image_sha256"] for row in rows] == [B, A]
    assert (rows[0]["domain"], rows[0]["received_at"]) == ("pier, east", "2001-09-09T01:46:40.000Z")
    assert Path(rows[0]["file"]).read_bytes() == B.encode()
    out.write_text(out.read_text().replace(f"{A},,", f"{A},tern,"))
    assert read_labels(out).rows == ((A, "tern"),)


def test_a_folder_is_read_back_with_what_was_moved(tmp_path: Path) -> None:
    out = tmp_path / "queue"
    write_folder(out, [image(tmp_path, d) for d in (A, B, C)], ["gull/young", "tern"])
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        UNCLEAR_FOLDER,
        "gull%2Fyoung",
        "tern",
    ]
    (out / f"{A}.png").rename(out / "gull%2Fyoung" / f"{A}.png")
    (out / f"{B}.png").rename(out / UNCLEAR_FOLDER / f"{B}.png")
    (out / ".DS_Store").touch()
    found = read_labels(out)
    assert sorted(found.rows) == [(A, "gull/young"), (B, "?")]
    assert found.empty == 1
    (out / "tern" / f"{A}.png").touch()
    with pytest.raises(InputError, match="'tern' here and 'gull/young' in gull%2Fyoung"):
        read_labels(out)
    (out / "tern" / f"{A}.png").rename(out / "tern" / "holiday.png")
    with pytest.raises(InputError, match=r"tern/holiday.png .* is no image that a queue wrote"):
        read_labels(out)
    with pytest.raises(InputError, match="exists already"):
        write_folder(out, [], [])
    (tmp_path / "another").mkdir()
    with pytest.raises(InputError, match="another names no image"):
        read_labels(tmp_path / "another")


def test_an_image_that_was_deleted_meanwhile_is_left_out_of_the_folder(tmp_path: Path) -> None:
    images = [image(tmp_path, digest) for digest in (A, B)]
    images[0].path.unlink()
    (tmp_path / "queue").mkdir()  # an empty folder is as good as none
    write_folder(tmp_path / "queue", images, [])
    assert read_labels(tmp_path / "queue").empty == 1
