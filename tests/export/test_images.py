from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from export.images import held_items, pixel_chunks, scene_weights
from redshank.dataset import Item, Manifest
from redshank.errors import InputError


def item(name: str, *, split: str = "train", label: str = "", scene: str = "") -> Item:
    values = {"path": name, "domain": name[0], "split": split, "label": label, "scene": scene}
    return Item(**values)  # type: ignore[arg-type]  # split is one of the literals


def manifest(root: Path, *items: Item) -> Manifest:
    return Manifest(("x",), root, items)


def test_validation_items_go_before_unlabelled_ones_and_labelled_ones_never_count() -> None:
    items = manifest(
        Path(),
        item("a1", split="val", label="x"),
        item("a2"),
        item("b1", label="x"),
        item("b2"),
        item("b3", split="test", label="x"),
        item("c1", label="x"),
    )
    found = {d: [i.path for i in held_items(items, d, limit=9)] for d in "abc"}
    assert found == {"a": ["a1"], "b": ["b2"], "c": []}


def test_the_limit_draws_by_seed() -> None:
    items = manifest(Path(), *(item(f"a{n}") for n in range(50)))
    drawn = held_items(items, "a", limit=10)
    assert len({i.path for i in drawn}) == 10
    assert drawn == held_items(items, "a", limit=10)
    assert drawn != held_items(items, "a", limit=10, seed=1)


def test_frames_of_a_scene_weigh_one_together() -> None:
    items = [item("a1", scene="s"), item("a2"), item("a3", scene="s"), item("a4")]
    assert scene_weights(items).tolist() == [0.5, 1.0, 0.5, 1.0]


def test_pixels_come_in_order_and_in_chunks(tmp_path: Path) -> None:
    for n in range(5):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(tmp_path / f"a{n}.png")
    items = manifest(tmp_path, *(item(f"a{n}.png") for n in range(5)))
    chunks = list(pixel_chunks(items, items.items, height=4, width=4, size=2))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert np.concatenate(chunks)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_missing_and_damaged_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "a1.png").write_bytes(b"nothing")
    items = manifest(tmp_path, item("a0.png"), item("a1.png"))
    for number, message in ((0, r"a0\.png .* is missing"), (1, r"a1\.png: the 7 bytes")):
        with pytest.raises(InputError, match=message):
            list(pixel_chunks(items, items.items[number:], height=4, width=4))


def test_pixels_may_come_from_a_bucket(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / "a0.png")
    system = fsspec.filesystem("memory")
    system.pipe("/export-set/a0.png", (tmp_path / "a0.png").read_bytes())
    try:
        remote = Manifest(("x",), "memory://export-set", (item("a0.png"), item("a1.png")))
        pixels = next(pixel_chunks(remote, remote.items[:1], height=4, width=4))
        assert pixels[0, 0, 0].tolist() == [9, 0, 0]
        with pytest.raises(InputError, match=r"memory://export-set/a1\.png .* is missing"):
            list(pixel_chunks(remote, remote.items, height=4, width=4))
    finally:
        system.rm("/export-set", recursive=True)
