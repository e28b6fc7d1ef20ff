from __future__ import annotations

import os
from pathlib import Path

import pytest

from redshank.errors import InputError
from redshank.image_bytes import as_location, is_uri, join_location, read_bytes


def test_paths_and_uris_are_told_apart() -> None:
    for text in ("s3://b/x", "gs://b/a b", "memory://x", "HTTPS://h/x", "file:///x"):
        assert is_uri(text)
    for text in ("/data/a.png", "a b.png", "C:/x.png", "://x", "a/b://c", ""):
        assert not is_uri(text)


def test_file_uris_are_local_paths() -> None:
    assert as_location("file:///data/Real%20World/a.png") == Path("/data/Real World/a.png")
    assert as_location("file://localhost/data/a#1?.png") == Path("/data/a#1?.png")
    assert as_location("s3://bucket/set/") == "s3://bucket/set"


def test_absolute_paths_and_uris_stand_for_themselves() -> None:
    assert join_location(Path("/root"), "a/b.png") == Path("/root/a/b.png")
    assert join_location(Path("/root"), "/x.png") == Path("/x.png")
    assert join_location(Path("/root"), "s3://b/x.png") == "s3://b/x.png"
    assert join_location("s3://b/set/", "a b.png") == "s3://b/set/a b.png"
    assert join_location("s3://b/set", "/x.png") == Path("/x.png")


def test_only_whole_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert read_bytes(tmp_path / "a.png") == b"abc"
    assert read_bytes(tmp_path / "empty.png") == b""
    reasons = {
        "folder.jpg": "is a folder",
        "link.jpg": "No such file",
        "pipe.jpg": "neither a file nor a folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(OSError, match=reason) as caught:
            read_bytes(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name) or name == "link.jpg"
    with pytest.raises(OSError, match="has 3 bytes, more than 2"):
        read_bytes(tmp_path / "a.png", max_bytes=2)


def test_no_handle_stays_open(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # not a folder of files
    for _ in range(20):
        with pytest.raises(IsADirectoryError):
            read_bytes(tmp_path / "folder.jpg")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_passwords_in_addresses_are_refused_and_not_shown() -> None:
    with pytest.raises(InputError, match=r"^https://\.\.\.@host/x: a URI must not hold") as caught:
        as_location("https://me:secret@host/x")
    assert "secret" not in str(caught.value)
    assert as_location("abfs://container@account/x") == "abfs://container@account/x"
    assert as_location("http://host:80/a@b:c.png") == "http://host:80/a@b:c.png"
