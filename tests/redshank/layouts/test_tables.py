import sys
from pathlib import Path

import pytest

from redshank.errors import InputError, MissingPartError
from redshank.layouts import read_layout


def table(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_with_empty_labels_and_splits(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "images.csv",
        "path,domain,label,split\na.png,north,cat,val\nb.png,north,,\nc.png,south, dog ,train\n",
    )
    listing = read_layout(path)
    assert listing.root == tmp_path.resolve()
    assert listing.classes == ("cat", "dog")
    assert [(i.path, i.domain, i.label, i.split) for i in listing.items] == [
        ("a.png", "north", "cat", "val"),
        ("b.png", "north", "", "train"),
        ("c.png", "south", "dog", "train"),
    ]


def test_json_lines_take_class_for_label_and_numbers_as_text(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "images.jsonl",
        '{"path": "a.png", "domain": "north", "class": 7}\n\n'
        '{"path": "b.png", "domain": "north", "label": null}\n',
    )
    assert [item.label for item in read_layout(path).items] == ["7", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,domain,lable\na.png,n,cat\n", "unknown column 'lable'. Did you mean 'label'?"),
        ("path,label\na.png,cat\n", "column 'domain' is missing"),
        ("path,domain,split\na.png,n,dev\n", "line 2: split 'dev' is none of train, val, test"),
        ("path,domain\n", "holds no image"),
        ("path,domain\na.png,n\nb.png,n\na.png,s\n", "line 4: a.png is in line 2 already"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_layout(table(tmp_path, "images.csv", text))
    assert message in caught.value.message


def test_json_errors_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: not JSON"):
        read_layout(table(tmp_path, "i.jsonl", '{"path": "a", "domain": "d"}\n{oops\n'))
    with pytest.raises(InputError, match="line 1: expected an object"):
        read_layout(table(tmp_path, "i.jsonl", "[1]\n"))


def test_line_separators_in_names_are_no_line_ends(tmp_path: Path) -> None:
    path = table(tmp_path, "i.jsonl", '{"path": "a\u2028b.png", "domain": "d"}\r\n')
    assert [item.path for item in read_layout(path).items] == ["a\u2028b.png"]


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    for name in ("i.csv", "i.jsonl"):
        (tmp_path / name).write_bytes("path,domain\nhéron.png,n\n".encode("latin-1"))
        with pytest.raises(InputError, match=f"{name} is no table.*\n.*UTF-8"):
            read_layout(tmp_path / name)


def test_parquet_is_a_table_too(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "i.parquet"
    columns = {
        "path": ["a.png", "s3://bucket/b.png"],
        "domain": ["north", "south"],
        "label": ["cat", None],
        "split": [None, "test"],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    listing = read_layout(path)
    assert listing.layout == "table"
    assert [(i.path, i.domain, i.label, i.split) for i in listing.items] == [
        ("a.png", "north", "cat", "train"),
        ("s3://bucket/b.png", "south", "", "test"),
    ]
    pyarrow.parquet.write_table(pyarrow.table({**columns, "path": ["a.png"] * 2}), path)
    with pytest.raises(InputError, match=r"row 2: a\.png is in row 1 already"):
        read_layout(path)
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"i\.parquet is no Parquet file"):
        read_layout(path)


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "i.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingPartError, match="needs the Python package 'pyarrow'"):
        read_layout(tmp_path / "i.parquet")
