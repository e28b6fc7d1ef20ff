from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from redshank.errors import InputError
from redshank.layouts.tree import list_tree

from .conftest import touch


def test_a_tree_is_sorted_and_passes_over_hidden_names(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "b/10.jpg", "a/x.jpg", ".git/c.jpg", "b/.DS_Store", "readme")
    touch(tmp_path, "__MACOSX/a/x.jpg", "b/._2.jpg")
    tree = list_tree(tmp_path)
    assert tree.folders() == ["a", "b"]
    assert tree.files() == ["readme"]
    assert list(tree.below("")) == ["readme", "a/x.jpg", "b/10.jpg", "b/2.jpg"]
    assert list(tree.within("b").below("")) == ["10.jpg", "2.jpg"]
    assert tree.within("b").root == tmp_path / "b"
    assert tree.folders("nowhere") == tree.files("nowhere") == []


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "set/cat/2.jpg")
    (tmp_path / "set/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/cat/up").symlink_to(tmp_path / "set")
    tree = list_tree(tmp_path / "set")
    assert list(tree.below("")) == ["cat/2.jpg", "dog/1.jpg"]
    assert [(fault.path, fault.reason) for fault in tree.faults] == [
        ("cat/up", "a link to a folder that it lies in")
    ]
    assert [fault.path for fault in tree.within("cat").faults] == ["up"]


def test_a_folder_that_may_not_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    touch(tmp_path, "cat/1.jpg")
    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(InputError, match="cannot be listed: permission denied"):
        list_tree(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        list_tree(tmp_path / "cat/1.jpg")


def test_a_bucket_is_a_tree_like_any_other(tmp_path: Path) -> None:
    names = ["b/2.jpg", "b/10.jpg", "a/x.jpg", ".git/c.jpg", "readme", "__MACOSX/a/x.jpg"]
    touch(tmp_path, *names)
    system = fsspec.filesystem("memory")
    system.pipe({f"/tree/{name}": b"x" for name in names})
    try:
        local, remote = list_tree(tmp_path), list_tree("memory://tree")
        assert remote.by_path == local.by_path
        assert remote.within("b").root == "memory://tree/b"
        assert remote.read_text("readme") == "x"
        with pytest.raises(InputError, match="memory://treee holds nothing"):
            list_tree("memory://treee")
    finally:
        system.rm("/tree", recursive=True)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "list.txt", content=b"h\xe9ron")
    with pytest.raises(InputError, match=r"list\.txt is no text file"):
        list_tree(tmp_path).read_text("list.txt")
