from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redshank.errors import ConfigError, ConflictError, InputError
from redshank.registry import Registry
from redshank.settings import Home, ServingSettings, Settings
from serving.bento import build_bento, packed_environment, requirements
from serving.packed import ENVIRONMENT, packed_settings, packed_workers


def test_what_differs_from_the_default_travels_but_not_the_machine() -> None:
    serving = ServingSettings(
        model="gate", port=9, workers=3, max_queue=7, capture_domains=("a", "b"), record=False
    )
    assert packed_environment(serving) == {
        "REDSHANK_SERVING__MODEL": "gate",
        "REDSHANK_SERVING__WORKERS": "3",
        "REDSHANK_SERVING__MAX_QUEUE": "7",
        "REDSHANK_SERVING__CAPTURE_DOMAINS": '["a", "b"]',
        "REDSHANK_SERVING__RECORD": "false",
    }


def test_requirements_are_pinned_and_hold_no_torch() -> None:
    names = [line.partition("==") for line in requirements()]
    assert all(sign and version for _, sign, version in names)
    found = {name for name, _, _ in names}
    assert {"bentoml", "onnxruntime", "orjson", "pillow"} <= found
    assert not found & {"torch", "torchvision", "onnx", "sqlalchemy"}


@pytest.fixture
def packed(tmp_path: Path, home: Any) -> Path:
    """A `packed` folder by hand."""
    folder = tmp_path / "src" / "packed"
    bundle = home.registry.bundle_path(home.one)
    shutil.copytree(bundle, folder / "bundles" / home.one)
    serving = dataclasses.replace(home.settings.serving, max_queue=7)
    (folder / ENVIRONMENT).write_text(json.dumps(packed_environment(serving)))
    return folder


def test_first_start_publishes_the_packed_bundle(packed: Path, tmp_path: Path, home: Any) -> None:
    root = tmp_path / "volume"
    environment = {"REDSHANK_HOME__ROOT": str(root), "REDSHANK_SERVING__MAX_QUEUE": "9"}
    settings = packed_settings(environment, packed)
    assert settings.serving.max_queue == 9  # the environment wins
    assert Registry(root / "models", root / "bundles").read("default").live == home.one
    assert packed_settings({}, packed).home.root == str(packed.parent / "redshank-home")


def test_a_later_release_survives_a_restart(packed: Path, tmp_path: Path, home: Any) -> None:
    environment = {"REDSHANK_HOME__ROOT": str(tmp_path / "volume")}
    packed_settings(environment, packed)
    registry = Registry(tmp_path / "volume/models", tmp_path / "volume/bundles")
    shutil.copytree(home.registry.bundle_path(home.two), registry.bundle_path(home.two))
    registry.publish(home.two, actor="test", reason="", at_s=1.0)
    packed_settings(environment, packed)
    assert registry.read("default").live == home.two


def test_workers_that_start_together_agree(packed: Path, tmp_path: Path) -> None:
    environment = {"REDSHANK_HOME__ROOT": str(tmp_path / "volume")}
    errors: list[BaseException] = []

    def start() -> None:
        try:
            packed_settings(environment, packed)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    registry = Registry(tmp_path / "volume/models", tmp_path / "volume/bundles")
    assert registry.read("default").revision == 1


def test_workers_are_as_packed_unless_the_machine_says_otherwise(
    packed: Path, tmp_path: Path, home: Any
) -> None:
    serving = dataclasses.replace(home.settings.serving, workers=3)
    (packed / ENVIRONMENT).write_text(json.dumps(packed_environment(serving)))
    assert packed_workers({}, packed) == 3
    assert packed_workers({"REDSHANK_SERVING__WORKERS": "2"}, packed) == 2
    with pytest.raises(ConfigError, match=r"serving\.workers is 0"):
        packed_workers({"REDSHANK_SERVING__WORKERS": "0"}, packed)
    assert packed_workers({}, tmp_path / "checkout") == 1


def test_an_unknown_key_of_the_environment_is_named(packed: Path) -> None:
    with pytest.raises(ConfigError, match="max_quue"):
        packed_settings({"REDSHANK_SERVING__MAX_QUUE": "9"}, packed)


def test_without_a_release_nothing_is_packed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="default"):
        build_bento(Settings(home=Home(str(tmp_path / "home"))), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_built_bento_serves_where_torch_cannot_be_imported(
    tmp_path: Path, home: Any, image: Callable[[int], bytes]
) -> None:
    bento = build_bento(home.settings, tmp_path / "out")
    assert bento.name == home.one.lower()
    assert not (bento / "src" / "redshank" / "nn").exists()
    with pytest.raises(ConflictError, match="there already"):
        build_bento(home.settings, tmp_path / "out")
    blocked = tmp_path / "blocked"
    for name in ("torch", "torchvision", "onnx"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text(f"raise ImportError('{name}')")
    _an_open_server_is_refused(bento, tmp_path)
    with _serving(bento, blocked, tmp_path) as (port, process):
        answer = _ask(port, process, tmp_path, image(1))
        assert (answer["class"], answer["version"]) == ("green", home.one)
        _a_killed_worker_is_replaced(process)


def _an_open_server_is_refused(bento: Path, tmp_path: Path) -> None:
    """BentoML listens on every interface; a setting that says otherwise counts for nothing."""
    own = {"REDSHANK_SERVING__HOST": "127.0.0.1", "REDSHANK_HOME__ROOT": str(tmp_path / "open")}
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", str(bento), "--port", "0"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "BENTOML_HOME": str(tmp_path / "bentoml"), **own},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "redshank: serving.host is 0.0.0.0, but serving.tokens_file is empty" in done.stderr
    assert "Traceback" not in done.stderr


def _a_killed_worker_is_replaced(process: subprocess.Popen[bytes]) -> None:
    """Two workers, as the environment says; in a container BentoML alone would go on with one."""

    def workers() -> list[int]:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    before = workers()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    until = time.monotonic() + 60
    while len(workers()) < 2 or before[0] in workers():
        assert time.monotonic() < until, "the worker was not replaced"
        time.sleep(0.1)


@contextlib.contextmanager
def _serving(
    bento: Path, blocked: Path, tmp_path: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(blocked),
        "HOME": str(tmp_path),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONTAINERIZED": "true",
        "REDSHANK_SERVING__WORKERS": "2",
        "REDSHANK_HOME__ROOT": str(tmp_path / "volume"),
    }
    command = [sys.executable, "-m", "bentoml", "serve", str(bento)]
    command += ["--host", "127.0.0.1", "--port", port]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        yield port, process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _ask(
    port: str, process: subprocess.Popen[bytes], tmp_path: Path, data: bytes
) -> dict[str, Any]:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", data=data)
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=20) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer
        time.sleep(0.3)
    raise AssertionError((tmp_path / "serve.log").read_text()[-2000:])
