from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from redshank import remote
from redshank.errors import InputError, MissingPartError, StageError
from redshank.image_bytes import MAX_FILE_BYTES, read_bytes
from redshank.remote import ATTEMPTS, check_place, list_remote, read_remote


@pytest.fixture
def bucket() -> Iterator[str]:
    system = fsspec.filesystem("memory")
    system.pipe({"/set/photo/cat/a b.png": b"one", "/set/photo/cat/b.png": b"", "/other/x": b"x"})
    yield "memory://set"
    system.rm("/set", recursive=True)
    system.rm("/other", recursive=True)


class Moody(BaseHTTPRequestHandler):
    """Answers what the path says; `/moody` is busy twice."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status = {"/gone": 404, "/secret": 403, "/dead": 500}.get(self.path, 200)
        if self.path == "/moody" and len(self.asked) < 3:
            status = 503
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(remote, "FIRST_PAUSE_S", 0.001)
    Moody.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Moody) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_bytes_and_names_of_a_bucket(bucket: str) -> None:
    assert read_bytes(f"{bucket}/photo/cat/a b.png") == b"one"
    assert read_bytes(f"{bucket}/photo/cat/b.png") == b""
    assert list_remote(bucket) == ["photo/cat/a b.png", "photo/cat/b.png"]
    assert list_remote("memory://nothing") == []


def test_missing_files_are_ordinary_errors(bucket: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_bytes(f"{bucket}/photo/cat/c.png")
    assert caught.value.strerror == "no such file"
    assert caught.value.filename == f"{bucket}/photo/cat/c.png"
    with pytest.raises(OSError, match="has 3 bytes, more than 2"):
        read_bytes(f"{bucket}/photo/cat/a b.png", max_bytes=2)


def test_faults_that_pass_are_waited_for(server: str) -> None:
    assert read_bytes(f"{server}/moody") == b"ok"
    assert Moody.asked == ["/moody"] * 3


def test_faults_that_stay_are_not(server: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{server}/gone")
    with pytest.raises(PermissionError, match="access denied"):
        read_bytes(f"{server}/secret")
    assert Moody.asked == ["/gone", "/secret"]


def test_a_storage_that_does_not_answer_ends_the_work(server: str) -> None:
    pauses: list[float] = []
    with pytest.raises(StageError, match=f"/dead could not be reached in {ATTEMPTS} attempts"):
        read_remote(f"{server}/dead", max_bytes=MAX_FILE_BYTES, sleep=pauses.append)
    assert Moody.asked == ["/dead"] * ATTEMPTS
    assert pauses == [0.001, 0.002, 0.004]


def test_every_request_has_a_time_limit(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    system, _ = fsspec.core.url_to_fs(server)

    def cat_file(_path: str, *, timeout: float) -> bytes:
        asked.append(timeout)
        return b""

    monkeypatch.setattr(system, "cat_file", cat_file)
    read_bytes(f"{server}/x")
    assert asked == [remote.REQUEST_S]


class NoCredentialsError(Exception):
    """Named as botocore's."""


def test_missing_credentials_end_the_work_with_advice(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object, _path: str) -> bytes:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    with pytest.raises(MissingPartError, match="no usable credentials: Unable to locate"):
        read_bytes(f"{bucket}/photo/cat/b.png")
    assert "AWS_ACCESS_KEY_ID" in remote.CREDENTIALS["s3"]


def test_missing_packages_and_unknown_schemes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"(?i)protocol not known: ftpx"):
        read_bytes("ftpx://host/x")

    def not_installed(_uri: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", not_installed)
    with pytest.raises(MissingPartError, match="s3://b/x: Install s3fs to access S3"):
        read_bytes("s3://b/x")
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingPartError, match="needs the Python package 'fsspec'"):
        read_bytes("s3://b/x")


def test_a_place_that_takes_no_files_is_refused_without_asking_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_place("memory://bucket/field")
    for uri, reason in (
        ("wat://x/y", "wat://x/y: Protocol not known: wat"),
        ("https://x/y", "https://x/y: files are only read from https://"),
        ("s3://", "s3:// names no bucket"),
    ):
        with pytest.raises(InputError, match=reason):
            check_place(uri)

    def not_installed(_scheme: str) -> None:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "get_filesystem_class", not_installed)
    with pytest.raises(MissingPartError, match="gs://b/x: Install gcsfs"):
        check_place("gs://b/x")
