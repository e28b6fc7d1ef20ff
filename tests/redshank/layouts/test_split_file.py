from __future__ import annotations

import json
from pathlib import Path

import pytest

from redshank.dataset import Item
from redshank.errors import InputError, IntegrityError, SchemaError
from redshank.layouts.split_file import apply_split, read_split, split_of, write_split

PLAIN = tuple(
    Item(f"{domain}/{label}/{n}.png", domain, label)
    for domain in ("a", "b")
    for label in ("cat", "dog")
    for n in range(3)
)
CHOSEN = (
    Item("a/cat/0.png", "a", "cat"),
    Item("a/cat/1.png", "a", "", hidden_label="cat"),
    Item("a/cat/2.png", "a", "cat", "val"),
    *PLAIN[3:6],
    *(Item(item.path, "b", item.label, "test") for item in PLAIN[6:]),
)


def test_a_split_moves_from_one_copy_to_another(tmp_path: Path) -> None:
    digest = write_split(tmp_path / "s.jsonl", CHOSEN)
    split = read_split(tmp_path / "s.jsonl")
    assert split.sha256 == digest
    assert apply_split(PLAIN, split, source="s") == CHOSEN
    assert apply_split(CHOSEN, split, source="s") == CHOSEN  # what was hidden before is known


def test_the_digest_is_of_the_facts_not_of_their_form(tmp_path: Path) -> None:
    write_split(tmp_path / "a.jsonl", CHOSEN)
    assert split_of(reversed(CHOSEN)).sha256 == read_split(tmp_path / "a.jsonl").sha256
    head, *lines = (tmp_path / "a.jsonl").read_text().splitlines()
    turned = [json.dumps(dict(reversed(json.loads(line).items()))) for line in lines]
    (tmp_path / "b.jsonl").write_text("\n".join([head, *reversed(turned)]))
    assert read_split(tmp_path / "b.jsonl").sha256 == read_split(tmp_path / "a.jsonl").sha256
    other = (*CHOSEN[1:], Item("a/cat/0.png", "a", "", hidden_label="cat"))
    assert split_of(other).sha256 != split_of(CHOSEN).sha256


def test_a_hand_written_header_may_be_short(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(
        '{"schema": 1, "kind": "redshank split"}\n'
        '{"path": "x.png", "domain": "a", "class": "", "split": "train", "labelled": false}\n'
    )
    assert apply_split([Item("x.png", "a")], read_split(path), source="s") == (Item("x.png", "a"),)


def test_accents_of_other_systems_are_the_same_path(tmp_path: Path) -> None:
    write_split(tmp_path / "s.jsonl", [Item("me\u0301tro/1.png", "a")])
    item = Item("m\u00e9tro/1.png", "a")
    assert apply_split([item], read_split(tmp_path / "s.jsonl"), source="s") == (item,)


def test_a_split_that_does_not_fit_names_the_first_misfits(tmp_path: Path) -> None:
    write_split(tmp_path / "s.jsonl", CHOSEN)
    split = read_split(tmp_path / "s.jsonl")
    others = (
        *(Item(f"new/{n}.png", "a", "cat") for n in range(5)),
        Item("a/cat/0.png", "c", "cat"),
        Item("a/cat/1.png", "a", "dog"),
        Item("a/cat/2.png", "a"),
        *PLAIN[3:-1],
    )
    with pytest.raises(InputError) as caught:
        apply_split(others, split, source="s.jsonl")
    assert caught.value.message == (
        "split s.jsonl does not fit the data: "
        "5 images of the data are not in it, like new/0.png, new/1.png, new/2.png; "
        "images that it names are not in the data: b/dog/2.png; "
        "images have another domain: a/cat/0.png (c, expected a); "
        "images have another class: a/cat/1.png (dog, expected cat), "
        "a/cat/2.png (none, expected cat)"
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda text: text[:-2].rpartition("\n")[0], IntegrityError, "has 11 images with digest"),
        (lambda text: text.replace('"val"', '"test"'), IntegrityError, "It was cut off or changed"),
        (lambda text: text.replace('"val"', '"dev"'), SchemaError, "line 4: split: 'dev' is none"),
        (lambda text: text.replace('"class": "cat"', '"class": ""'), SchemaError, "has no class"),
        (lambda text: text.replace("labelled", "labeled"), SchemaError, "Did you mean 'labelled'"),
        (lambda text: text + text.splitlines()[1], InputError, "a/cat/0.png is there twice"),
        (lambda text: text.replace("redshank split", "list"), InputError, "is not a split file"),
        (lambda _: "", InputError, "is not a split file"),
        (lambda text: text + "{", SchemaError, "line 14: not JSON"),
    ],
)
def test_a_broken_file_is_refused(
    tmp_path: Path, change: object, error: type[Exception], message: str
) -> None:
    path = tmp_path / "s.jsonl"
    write_split(path, CHOSEN)
    assert callable(change)
    path.write_text(change(path.read_text()))
    with pytest.raises(error, match=message):
        read_split(path)


def test_a_missing_file_and_images_listed_twice_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--save-split"):
        read_split(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"a/cat/0\.png is in the data twice"):
        write_split(tmp_path / "s.jsonl", [*PLAIN, PLAIN[0]])
