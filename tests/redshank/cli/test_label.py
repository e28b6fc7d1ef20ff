from __future__ import annotations

import json
from pathlib import Path

import pytest

from redshank.bundle import read_bundle
from redshank.cli import main
from redshank.cli.label import read_rows
from redshank.errors import InputError
from redshank.files import sha256_file
from redshank.store.control import open_control
from tests.colour_bundle import write_colour_bundle

A, B = "a" * 64, "b" * 64


def test_import_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path / "var"))
    file = tmp_path / "labels.csv"
    file.write_text(f"image_sha256,label\n{A},gull\n{B},tern\n")
    assert main(["label", "import", str(file), "--json", "--actor", "ann"]) == 0
    assert json.loads(capsys.readouterr().out) == {"new": 2, "changed": 0, "same": 0}
    file.write_text(f"label,image_sha256,note\ntern,{A.upper()},corrected\n")
    assert main(["label", "import", str(file)]) == 0
    assert "0 new, 1 changed, 0 known before" in capsys.readouterr().err
    store = open_control(f"sqlite:///{tmp_path}/var/control.db")
    assert store.labels([A, B]) == {A: "tern", B: "tern"}
    row = store.audit()[-1]
    assert (row.action, row.subject) == ("labels", sha256_file(file))
    assert store.verify_audit() == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'image_sha256'"),
        ("image_sha256\n", "no column 'label'"),
        (f"image_sha256,label\n{A},\n", "line 2: the label is empty"),
        (f"image_sha256,label\n{A}\n", "line 2: the label is empty"),
        ("image_sha256,label\nxyz,gull\n", "line 2: 'xyz' is no sha256"),
        (f"image_sha256,label\n{A},gull\n{A},gull\n{A},tern\n", "line 4: .* 'gull' in line 2"),
    ],
)
def test_wrong_files_are_named_by_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(text.encode(), source="labels.csv")


def test_not_utf_8() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        read_rows(b"\xff\xfe\x00", source="labels.csv")


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "import", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err


def test_a_byte_order_mark_is_read_past() -> None:
    data = b"\xef\xbb\xbf" + f"image_sha256,label\n{A},gull\n".encode()
    assert read_rows(data, source="x") == [(A, "gull")]


def test_the_same_line_twice_is_no_contradiction() -> None:
    data = f"image_sha256,label\n{A},gull\n{A},gull\n".encode()
    assert read_rows(data, source="x") == [(A, "gull")] * 2


def test_a_label_that_is_no_class_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REDSHANK_HOME__ROOT", str(tmp_path))
    bundle = write_colour_bundle(tmp_path / "bundles" / "20261122T090000-aaaaaa")
    assert main(["models", "publish", bundle.name]) == 0
    known = read_bundle(bundle).classes[0]
    file = tmp_path / "labels.csv"
    file.write_text(f"image_sha256,label\n{A},{known}\n{B},gul\n")
    capsys.readouterr()
    assert main(["label", "import", str(file)]) == 0
    told = capsys.readouterr().err
    assert "'gul' (1 images) is no class of the live model 'default'" in told
    assert repr(known) not in told
