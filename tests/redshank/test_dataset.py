from __future__ import annotations

from pathlib import Path

import pytest

from redshank.dataset import Item, read_manifest, write_manifest
from redshank.errors import InputError, SchemaError

ITEMS = (
    Item("mnist/3/0.png", "mnist", label="3"),
    Item("mnist/u/1.png", "mnist", hidden_label="5", scene="s"),
    Item("harbour/2.png", "harbour", captured_at="2026-11-22T09:00:00.000Z"),
    Item("street/5/3.png", "street", label="5", split="test"),
)


def _write(folder: Path, *items: Item) -> Path:
    write_manifest(folder / "m.jsonl", root="images", classes=["3", "5"], items=items)
    return folder / "m.jsonl"


@pytest.mark.parametrize("classes", [["3", "5", "3"], ["3", ""]])
def test_classes_that_no_label_could_reach_are_refused(tmp_path: Path, classes: list[str]) -> None:
    write_manifest(tmp_path / "m.jsonl", root="images", classes=classes, items=ITEMS[:1])
    with pytest.raises(InputError, match=rf"class '{classes[2] if classes[2:] else ''}' is empty"):
        read_manifest(tmp_path / "m.jsonl")


def test_round_trip_and_roles(tmp_path: Path) -> None:
    manifest = read_manifest(_write(tmp_path, *ITEMS))
    assert manifest.items == ITEMS
    assert manifest.domains == ("harbour", "mnist", "street")
    assert manifest.source_domains == ("mnist",)
    assert manifest.target_domains == ("harbour",)
    assert manifest.class_index("5") == 1
    assert manifest.class_index("") == -1
    assert manifest.image_path(ITEMS[0]) == (tmp_path / "images/mnist/3/0.png").resolve()


def test_absolute_item_path_stands_for_itself(tmp_path: Path) -> None:
    item = Item(str(tmp_path / "x.png"), "a")
    assert read_manifest(_write(tmp_path, item)).image_path(item) == tmp_path / "x.png"


def test_any_file_name_survives_or_is_named(tmp_path: Path) -> None:
    odd = tuple(
        Item(f"a{mark}b.png", f"d{mark}e") for mark in ("\u2028", "\u0085", "\x0c", "\n", '"')
    )
    assert read_manifest(_write(tmp_path, *odd)).items == odd
    with pytest.raises(InputError, match=r"\\udcff.*is not UTF-8"):
        _write(tmp_path, Item("a\udcff.png", "d"))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item("a.png", "mnist", label="7"), "line 2: class '7' is not among"),
        (Item("a.png", ""), "line 2: field 'domain' is missing"),
    ],
)
def test_wrong_item_is_named_with_its_line(tmp_path: Path, item: Item, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_manifest(_write(tmp_path, item))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", InputError, "is empty"),
        ("{", SchemaError, r"line 1: not JSON[\s\S]*make one: redshank data scan"),
        ('{"schema": 7, "root": ".", "classes": []}', SchemaError, "schema 7 is not readable"),
        (
            '{"schema": 1, "root": ".", "classes": []}\n{"path": "a", "domian": "b"}',
            SchemaError,
            "line 2: unknown field 'domian'. Did you mean 'domain'?",
        ),
    ],
)
def test_wrong_file_is_refused(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(text)
    with pytest.raises(error, match=message.replace("?", r"\?")):
        read_manifest(path)


def test_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="redshank data scan"):
        read_manifest(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not a manifest"):
        read_manifest(tmp_path / "b.jsonl")
