"""A mirror whose disk is not mounted looks like one from which everything was removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from redshank.errors import StageError
from redshank.field_mirror import MARK, Pass, pull, push
from redshank.fieldstore import FieldStore
from redshank.image_bytes import as_location
from redshank.object_folder import ObjectFolder
from tests.redshank.test_field_mirror import capture, digest, kept


def test_a_mirror_that_is_not_mounted_empties_no_home(tmp_path: Path) -> None:
    mirror = ObjectFolder(tmp_path / "mirror")
    here, there = tmp_path / "here", tmp_path / "there"
    store = capture(here, 0, 1)
    push(here, mirror)
    pull(there, mirror)
    lost = {name: mirror.read(name) for name in mirror.names()}
    for name in lost:
        mirror.remove(name)
    store.delete(digest(5))
    FieldStore(there).delete(digest(6))
    with pytest.raises(StageError, match="is empty, and 2 images here came from it"):
        pull(there, mirror)
    assert mirror.names() == set()  # else it would look mounted to the next pass
    assert kept(there) == {digest(0), digest(1)}
    for name, data in lost.items():
        mirror.write(name, data)
    store.expire(2e9)
    assert push(here, mirror).removed == 2
    assert pull(there, mirror).removed == 2  # emptied by the home that filled it


def test_nothing_is_written_where_the_disk_of_a_mirror_should_be(tmp_path: Path) -> None:
    here, place = tmp_path / "here", tmp_path / "mount" / "field"
    mirror = ObjectFolder(place)
    store = capture(here, 0)
    push(here, mirror)
    place.rename(tmp_path / "unmounted")
    store.delete(digest(5))
    capture(here, 1)
    for _ in range(2):
        with pytest.raises(StageError, match="images were put there before") as caught:
            push(here, mirror)
        assert mirror.names() == set()
    place.mkdir()
    (place / MARK).touch()  # as the hint says
    assert caught.value.hint.endswith(f"touch {place / MARK}")
    assert push(here, mirror).uploaded == 2


def test_a_bucket_may_be_emptied_by_a_rule(tmp_path: Path) -> None:
    here, mirror = tmp_path / "here", ObjectFolder(as_location("memory://emptied/field"))
    capture(here, 0)
    push(here, mirror)
    for name in mirror.names():
        mirror.remove(name)
    assert push(here, mirror).uploaded == 1
    for name in mirror.names():
        mirror.remove(name)


def test_homes_that_push_to_what_they_pull_from_bring_nothing_back(tmp_path: Path) -> None:
    one, two, mirror = tmp_path / "one", tmp_path / "two", ObjectFolder(tmp_path / "mirror")
    capture(one, 0, 1)
    capture(two, 2, 3)
    for _ in range(2):
        for home in (one, two):
            push(home, mirror)
            pull(home, mirror)
    assert kept(one) == kept(two) == {digest(n) for n in range(4)}
    FieldStore(one).expire(1e9 + 1)  # its own first image; the others are younger
    assert pull(one, mirror) == Pass()  # before it was taken back
    assert push(one, mirror) == Pass(removed=1)
    assert push(two, mirror) == Pass()  # has a copy still
    assert pull(two, mirror) == Pass(removed=1)
    for home in (one, two):
        assert push(home, mirror) == pull(home, mirror) == Pass()
        assert kept(home) == {digest(n) for n in (1, 2, 3)}


def test_a_folder_that_cannot_be_listed_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, mirror = tmp_path / "here", tmp_path / "there", ObjectFolder(tmp_path / "mirror")
    capture(here, 0, 1)
    push(here, mirror)
    pull(there, mirror)
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path) == str(tmp_path / "mirror" / "gate-1"):
            raise OSError(5, "Input/output error", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for act, home in ((pull, there), (push, here)):
        with pytest.raises(OSError, match="Input/output error"):
            act(home, mirror)
    monkeypatch.undo()
    assert kept(there) == {digest(0), digest(1)}
