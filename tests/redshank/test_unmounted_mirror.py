"""A mirror whose disk is not mounted looks like one from which everything was removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import StageError
from redshank.field_mirror import pull, push
from redshank.fieldstore import FieldStore
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
