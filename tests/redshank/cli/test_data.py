import json
import re
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from redshank import layouts
from redshank.cli import data, main
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


def test_scan_says_when_classes_were_taken_for_domains(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = images.parent / "m.jsonl"
    assert main(["data", "scan", str(images / "north"), "--out", str(out)]) == 0
    assert "no image has a label: cat, dog are read as domains" in capsys.readouterr().err
    assert main(["data", "scan", str(images), "--out", str(out), "--force"]) == 0
    assert "no image has a label" not in capsys.readouterr().err


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


def test_the_command_knows_every_layout() -> None:
    assert set(data.LAYOUTS) == {"auto", *layouts.LAYOUTS}


def test_scan_says_what_it_recognised(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = images.parent / "m.jsonl"
    assert main(["data", "scan", str(images), "--out", str(out)]) == 0
    assert "layout folders\n" in capsys.readouterr().err
    assert main(["data", "scan", str(images), "--out", str(out), "--layout", "pacs"]) == 1
    assert "exists already" in capsys.readouterr().err
    (images / "north" / "cat" / "x.png").symlink_to("gone")
    assert main(["data", "scan", str(images), "--out", str(out), "--force"]) == 0
    assert "north/cat/x.png: a link to nothing; left out" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["scan", "split", "check"])
def test_nothing_is_overwritten_without_force(
    images: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    first, out = images.parent / "m.jsonl", images.parent / "mine.jsonl"
    main(["data", "scan", str(images), "--out", str(first)])
    out.write_text("labels of a whole week")
    arguments = ["data", verb, str(images if verb == "scan" else first), "--out", str(out)]
    assert main(arguments) == 1
    assert f"{out} exists already" in capsys.readouterr().err
    assert out.read_text() == "labels of a whole week"
    assert main([*arguments, "--force"]) == 0
    assert len(read_manifest(out).items) == 20


def test_a_saved_split_gives_the_same_labels_elsewhere(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, split = images.parent / "here.jsonl", images.parent / "split.jsonl"
    arguments = ["--labels-per-class", "2", "--val-share", "0.2", "--unseen", "south"]
    scan = ["data", "scan", str(images), "--out"]
    assert main([*scan, str(here), *arguments, "--seed", "5", "--save-split", str(split)]) == 0
    said = capsys.readouterr().err
    copy = images.parent / "copy"
    shutil.copytree(images, copy)
    there = images.parent / "there.jsonl"
    given = ["data", "scan", str(copy), "--out", str(there), "--split", str(split)]
    assert main(given) == 0
    assert read_manifest(there).items == read_manifest(here).items
    digest = re.findall(r"split ([0-9a-f]{12})", said + capsys.readouterr().err)
    assert len(digest) == 2
    assert len(set(digest)) == 1
    assert main([*given, "--force", "--val-share", "0.1"]) == 2
    assert "--split decides everything: --val-share" in capsys.readouterr().err
    (copy / "north" / "cat" / "0.png").unlink()
    assert main([*given, "--force"]) == 1
    assert "does not fit the data: images that it names" in capsys.readouterr().err


def test_a_bucket_is_scanned_split_and_checked_like_a_folder(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = fsspec.filesystem("memory")
    files = [path for path in images.rglob("*") if path.is_file()]
    system.pipe({f"/field/{p.relative_to(images).as_posix()}": p.read_bytes() for p in files})
    try:
        out, local = images.parent / "remote.jsonl", images.parent / "local.jsonl"
        assert main(["data", "scan", "memory://field", "--out", str(out)]) == 0
        assert main(["data", "scan", str(images), "--out", str(local)]) == 0
        remote = read_manifest(out)
        assert remote.root == "memory://field"
        assert remote.items == read_manifest(local).items
        assert main(["data", "check", str(out)]) == 0
        system.rm("/field/north/cat/0.png")
        capsys.readouterr()
        assert main(["data", "check", str(out)]) == 3
        assert "north/cat/0.png: no such file" in capsys.readouterr().out
    finally:
        system.rm("/field", recursive=True)
