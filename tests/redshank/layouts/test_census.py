from pathlib import Path

from redshank.dataset import Item, Manifest
from redshank.errors import InputError
from redshank.layouts.census import count_domains, inspect_images
from redshank.layouts.census_table import LONGEST, format_census


def manifest(root: Path, *items: Item) -> Manifest:
    return Manifest(("cat", "dog"), root, items)


def decode(data: bytes) -> None:
    if data.startswith(b"bad"):
        raise InputError("the image is cut off")


def write(root: Path, **files: bytes) -> None:
    for name, data in files.items():
        (root / name).write_bytes(data)


def test_counts_by_class_and_role(tmp_path: Path) -> None:
    counts = count_domains(
        manifest(
            tmp_path,
            Item("1", "src", "cat"),
            Item("2", "src", "", hidden_label="dog"),
            Item("3", "src", "dog", "val"),
            Item("4", "site"),
            Item("5", "new", "cat", "test"),
        )
    )
    by_name = {one.domain: one for one in counts}
    assert by_name["src"].labelled == (1, 0)
    assert by_name["src"].unlabelled == (0, 1)
    assert by_name["src"].val == 1
    assert by_name["site"].unlabelled_unknown == 1
    roles = {name: one.role for name, one in by_name.items()}
    assert roles == {"new": "unseen", "site": "target", "src": "source"}


def test_broken_images_come_with_path_and_reason(tmp_path: Path) -> None:
    write(tmp_path, good=b"fine", cut=b"bad bytes")
    items = [Item(name, "d", "cat") for name in ("good", "cut", "gone")]
    broken, leaks = inspect_images(manifest(tmp_path, *items), decode)
    assert [(one.path, one.reason) for one in broken] == [
        ("cut", "the image is cut off"),
        ("gone", "no such file or directory"),
    ]
    assert leaks == []


def test_equal_bytes_in_two_splits_are_a_leak(tmp_path: Path) -> None:
    write(tmp_path, a=b"same", b=b"same", c=b"same")
    items = [Item("a", "d", "cat"), Item("b", "d", "cat"), Item("c", "d", "cat", "test")]
    _, leaks = inspect_images(manifest(tmp_path, *items), decode)
    assert [(leak.path, leak.other_path) for leak in leaks] == [("c", "a")]


def test_table_has_a_column_a_class_and_lists_the_broken(tmp_path: Path) -> None:
    items = [Item(f"{n}", "d", "cat") for n in range(LONGEST + 5)]
    counted = manifest(tmp_path, *items)
    broken, leaks = inspect_images(counted, decode)
    text = format_census(counted.classes, count_domains(counted), broken, leaks)
    assert "domain  role     cat  dog  unknown  val  test" in text
    assert "d       source  25+0  0+0        0    0     0" in text
    assert f"broken: {LONGEST + 5}" in text
    assert "... and 5 more" in text
    assert "in two splits: 0" in text


def test_many_classes_are_shown_as_a_range(tmp_path: Path) -> None:
    names = tuple(f"c{n:02d}" for n in range(30))
    items = tuple(Item(f"{n}", "d", name) for n, name in enumerate(names))
    many = Manifest(names, tmp_path, (*items, Item("x", "d", "c00")))
    text = format_census(names, count_domains(many), [], [])
    assert "least a class" in text
    assert "c07" not in text
    assert "1+0" in text
    assert "2+0" in text
