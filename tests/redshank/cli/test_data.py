import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.cli import main
from redshank.dataset import read_manifest


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for domain in ("north", "south"):
        for label in ("cat", "dog"):
            for number in range(5):
                path = tmp_path / "images" / domain / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_scan_hides_labels_and_holds_domains_back(images: Path) -> None:
    out = images.parent / "manifest.jsonl"
    arguments = ["data", "scan", str(images), "--out", str(out)]
    assert (
        main([*arguments, "--labels-per-class", "2", "--val-share", "0.2", "--unseen", "south"])
        == 0
    )
    manifest = read_manifest(out)
    assert manifest.root == images.resolve()
    assert manifest.source_domains == ("north",)
    north = [item for item in manifest.items if item.domain == "north"]
    assert sum(item.split == "val" for item in north) == 2
    assert sum(bool(item.label) and item.split == "train" for item in north) == 4
    assert {item.split for item in manifest.items if item.domain == "south"} == {"test"}


def test_scan_says_which_folders_are_empty(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "gate 7").mkdir()
    assert main(["data", "scan", str(images), "--out", str(images.parent / "m.jsonl")]) == 0
    assert "domain folder gate 7 holds no image" in capsys.readouterr().err


def test_split_makes_a_new_manifest_of_the_same_images(images: Path) -> None:
    first, second = images.parent / "a.jsonl", images.parent / "elsewhere" / "b.jsonl"
    assert main(["data", "scan", str(images), "--out", str(first)]) == 0
    assert main(["data", "split", str(first), "--out", str(second), "--unlabelled", "south"]) == 0
    manifest = read_manifest(second)
    assert manifest.target_domains == ("south",)
    assert manifest.image_path(manifest.items[0]).is_file()


def test_check_prints_the_table_and_is_content(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = images.parent / "manifest.jsonl"
    main(["data", "scan", str(images), "--out", str(out)])
    capsys.readouterr()
    assert main(["data", "check", str(out)]) == 0
    text = capsys.readouterr().out
    assert "north   source  5+0  5+0" in text
    assert "broken: 0" in text


def test_check_names_broken_images_and_writes_a_clean_manifest(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "north" / "cat" / "0.png").write_bytes(b"not an image")
    whole = (images / "south" / "dog" / "1.png").read_bytes()
    (images / "south" / "dog" / "1.png").write_bytes(whole[: len(whole) // 2])
    out, clean = images.parent / "manifest.jsonl", images.parent / "clean.jsonl"
    main(["data", "scan", str(images), "--out", str(out)])
    capsys.readouterr()
    assert main(["data", "check", str(out), "--json", "--out", str(clean)]) == 3
    streams = capsys.readouterr()
    assert "clean.jsonl: 18 images, 2 left out" in streams.err
    report = json.loads(streams.out)
    assert [one["path"] for one in report["broken"]] == ["north/cat/0.png", "south/dog/1.png"]
    assert all(one["reason"] for one in report["broken"])
    assert main(["data", "check", str(clean)]) == 0
    assert "--out" not in capsys.readouterr().err
    assert len(read_manifest(clean).items) == 18
    assert main(["data", "check", str(out)]) == 3
    assert "leave them out with --out NEW" in capsys.readouterr().err


def test_scan_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "scan", str(tmp_path), "--out", str(tmp_path / "m.jsonl")]) == 1
    assert "holds no image" in capsys.readouterr().err
