import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from redshank.cli import main
from tests.colour_bundle import write_colour_bundle

BUNDLE = "20261122T090000-aaaaaa"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_colour_bundle(tmp_path / "bundles" / BUNDLE)
    for colour in ("red", "blue", "grey"):
        Image.new("RGB", (9, 7), colour).save(tmp_path / f"{colour}.png")
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path))
    return tmp_path


def test_one_json_object_a_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(home / f"{colour}.png") for colour in ("red", "blue", "grey")]
    assert main(["predict", BUNDLE, *files, "--json", "--top", "2"]) == 0
    red, blue, grey = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (red["class"], red["abstain"], red["version"]) == ("red", False, BUNDLE)
    assert red["confidence"] == pytest.approx(0.9647, abs=1e-4)  # 1 / (1 + 2 exp(-8 / 2))
    assert [t["class"] for t in blue["top"]] == ["blue", "red"]
    assert grey["abstain"]
    assert grey["confidence"] == pytest.approx(1 / 3, abs=1e-4)
    assert grey["novelty"] < 0.1 < red["novelty"]


def test_names_that_stdout_cannot_show_are_escaped(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="utf-8", errors="strict"))
    odd = home / "a\udcff.png"  # bytes that are no UTF-8, as Python gives them
    (home / "red.png").rename(odd)
    assert main(["predict", BUNDLE, str(odd), str(home / "blue.png"), "--json"]) == 0
    sys.stdout.flush()
    first, second = (json.loads(line) for line in written.getvalue().splitlines())
    assert (first["file"], first["class"], second["class"]) == (str(odd), "red", "blue")


@pytest.mark.usefixtures("home")
def test_top_is_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", BUNDLE, "x.png", "--top", "0"]) == 2
    assert "--top is 0" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_an_unknown_bundle_says_where_it_was_sought(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "nope", "x.png"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("redshank: nope is no folder of a bundle, no bundle in ")
    assert "(released: none)" in error


def test_bundle_by_folder_and_by_released_name(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(home / "bundles" / BUNDLE), str(home / "red.png")]) == 0
    assert "red.png  red  0.965" in capsys.readouterr().out
    main(["models", "publish", BUNDLE])
    assert main(["predict", "default", str(home / "grey.png")]) == 0
    assert "(abstain)" in capsys.readouterr().out


def test_bad_files_do_not_stop_the_good_ones(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "note.png").write_text("no image")
    files = [str(home / name) for name in ("note.png", "gone.png", "red.png")]
    assert main(["predict", BUNDLE, *files, "--json"]) == 1
    note, gone, red = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert note["error"]["code"] == "invalid_image"
    assert gone["error"]["code"] == "not_found"
    assert red["class"] == "red"
    assert main(["predict", BUNDLE, *files]) == 1
    assert "note.png: the 8 bytes are not an image" in capsys.readouterr().err


def test_a_folder_stands_for_the_images_below_it(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, empty = home / "site", home / "empty"
    (site / "night").mkdir(parents=True)
    empty.mkdir()
    (home / "red.png").rename(site / "night" / "z.PNG")
    (home / "blue.png").rename(site / "a.png")
    (site / "notes.txt").write_text("no image, and not named like one")
    assert main(["predict", BUNDLE, str(site), str(home / "grey.png"), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [site / "a.png", site / "night" / "z.PNG", home / "grey.png"]
    assert [answer["file"] for answer in answers] == [str(path) for path in expected]
    assert main(["predict", BUNDLE, str(empty), str(site), "--json"]) == 1
    nothing, blue, _ = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert nothing["error"] == {"code": "not_found", "message": "a folder without images"}
    assert blue["class"] == "blue"

    read_bytes = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "grey.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert main(["predict", BUNDLE, str(home / "grey.png"), "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {"code": "unreadable", "message": "cannot be read: Permission denied"}
