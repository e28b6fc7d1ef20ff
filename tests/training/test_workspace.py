from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import IO

import pytest

from redshank.errors import ConflictError
from training.workspace import open_workspace


def test_is_emptied_unless_resumed_and_deleted_on_success(tmp_path: Path) -> None:
    folder = tmp_path / "work"

    def fail(*, resume: bool) -> list[str]:
        with open_workspace(folder, resume=resume):
            found = sorted(path.name for path in folder.iterdir())
            (folder / "checkpoint").touch()
            raise RuntimeError(found)

    for resume, expected in ((False, ["lock"]), (True, ["checkpoint", "lock"]), (False, ["lock"])):
        with pytest.raises(RuntimeError) as caught:
            fail(resume=resume)
        assert caught.value.args == (expected,)
    with open_workspace(folder, resume=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_owner_deleted_meanwhile_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(lock: IO[str], how: int) -> None:
        shutil.rmtree(tmp_path / "work")  # the owner ends between our open and our lock
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        pytest.raises(ConflictError, match="another process trains"),
        open_workspace(tmp_path / "work", resume=False),
    ):
        pass
