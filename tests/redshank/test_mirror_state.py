from __future__ import annotations

from pathlib import Path

from redshank.mirror_state import STATE, State

ONE, TWO, THREE = (f"gate/{digit * 64}" for digit in "123")


def keys(root: Path, way: str = "pushed") -> set[str]:
    return State(root, way, "s3://bucket", ()).keys


def test_passes_at_once_keep_what_the_other_learnt(tmp_path: Path) -> None:
    State(tmp_path, "pushed", "s3://bucket", ()).add([ONE, TWO])
    push, by_hand = (State(tmp_path, "pushed", "s3://bucket", ()) for _ in range(2))
    pull = State(tmp_path, "pulled", "s3://bucket", ())
    push.drop(ONE)
    by_hand.add([THREE])
    push.save()
    pull.add([TWO])
    by_hand.save()
    assert keys(tmp_path) == {TWO, THREE}
    assert keys(tmp_path, "pulled") == {TWO}
    by_hand.drop(THREE)
    by_hand.save()
    assert keys(tmp_path) == {TWO}


def test_names_of_deleted_images_are_forgotten(tmp_path: Path) -> None:
    State(tmp_path, "pushed", "s3://bucket", ()).add([ONE, TWO])
    state = State(tmp_path, "pushed", "s3://bucket", {"1" * 64})
    assert state.keys == {TWO}
    state.save()
    assert keys(tmp_path) == {TWO}


def test_a_mirror_is_known_from_the_first_save_on(tmp_path: Path) -> None:
    state = State(tmp_path, "marked", "/mnt/field", ())
    assert not state.is_kept()
    state.save()
    assert state.is_kept()
    assert not State(tmp_path, "marked", "/mnt/other", ()).is_kept()
    (tmp_path / STATE).write_bytes(b"{")
    assert not state.is_kept()
