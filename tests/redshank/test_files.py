from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import InputError, IntegrityError
from redshank.files import (
    check_sha256,
    new_id,
    parse_rfc3339,
    publish_folder,
    read_json,
    rfc3339,
    sha256_bytes,
    sha256_file,
    to_json,
    write_atomic,
)


def test_atomic_write_replaces_whole_file_and_leaves_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.json"
    write_atomic(target, b"old")
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a"
    write_atomic(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("redshank.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(target, b"new")
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_errors_name_the_file_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path), None, "elsewhere")

    for name in ("redshank.files.os.open", "pathlib.Path.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(name, refused)
            with pytest.raises(PermissionError) as caught:
                write_atomic(tmp_path / "a.json", b"new")
        assert str(caught.value) == f"[Errno 13] Permission denied: '{tmp_path / 'a.json'}'"
    monkeypatch.setattr("os.mkdir", refused)
    with pytest.raises(PermissionError) as caught, publish_folder(tmp_path / "run"):
        pass
    assert str(caught.value) == f"[Errno 13] Permission denied: '{tmp_path / 'run'}'"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_taken_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_atomic(tmp_path, b"x")
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_a_file_unless_it_is_private(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomic(tmp_path / "shared", b"x")
    write_atomic(tmp_path / "secret", b"x", private=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes["shared"] == modes["plain"]
    assert modes["secret"] == 0o600


def test_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "one"

    def fail_half_way() -> None:
        with publish_folder(target) as scratch:
            (scratch / "a").write_text("x")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(OSError, match="No space left") as caught, publish_folder(target):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(target)
    with publish_folder(target) as scratch:
        (scratch / "a").write_text("x")
        assert not target.exists()
    assert (target / "a").read_text() == "x"


def test_published_folder_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"), publish_folder(tmp_path):
        pass


def test_digests_agree_and_a_change_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert sha256_file(path) == sha256_bytes(b"abc")
    check_sha256(path, sha256_bytes(b"abc"), source="bundle.json")
    with pytest.raises(IntegrityError, match=r"bundle\.json says"):
        check_sha256(path, sha256_bytes(b"abd"), source="bundle.json")
    with pytest.raises(IntegrityError, match="is missing"):
        check_sha256(tmp_path / "b", sha256_bytes(b"abd"), source="bundle.json")


def test_ids_sort_by_time_and_differ() -> None:
    ids = [new_id(1_795_338_000.0 + second) for second in range(5)]
    assert ids == sorted(ids)
    assert len({new_id(0.0) for _ in range(100)}) == 100


def test_time_survives_the_round_trip() -> None:
    assert rfc3339(1_795_338_000.125) == "2026-11-22T09:00:00.125Z"
    assert parse_rfc3339("2026-11-22T09:00:00.125Z") == 1_795_338_000.125
    with pytest.raises(InputError, match="names no zone"):
        parse_rfc3339("2026-11-22T09:00:00")
    with pytest.raises(InputError, match="not RFC 3339"):
        parse_rfc3339("yesterday")


def test_json_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError, match=r"b\.json is not JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(float("nan"))
