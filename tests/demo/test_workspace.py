from pathlib import Path

import pytest

from demo.workspace import CHECKOUT, fresh_workspace
from redshank.errors import ConflictError, InputError


def test_a_second_demo_sets_the_first_one_aside(tmp_path: Path) -> None:
    root = tmp_path / "var" / "demo"
    for text in ("first", "second", "third"):
        with fresh_workspace(root) as workspace:
            assert not (root / "note").exists()
            (workspace.root / "note").write_text(text)
    assert (root / "note").read_text() == "third"
    assert (root.with_name("demo-previous") / "note").read_text() == "second"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    with pytest.raises(InputError, match="no demo made"), fresh_workspace(tmp_path / "photos"):
        pass
    assert (tmp_path / "photos" / "cat.png").exists()


def test_an_empty_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    with fresh_workspace(tmp_path / "demo") as workspace:
        assert workspace.manifest == (tmp_path / "demo" / "digits" / "manifest.jsonl").resolve()


def test_two_demos_at_once_are_refused(tmp_path: Path) -> None:
    with (
        fresh_workspace(tmp_path / "demo"),
        pytest.raises(ConflictError, match="another demo is running"),
        fresh_workspace(tmp_path / "demo"),
    ):
        pass


def test_stages_are_found_in_the_checkout() -> None:
    assert (CHECKOUT / "training" / "__init__.py").is_file()
