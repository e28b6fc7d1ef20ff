from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from redshank.bundle import MODEL_FILE
from redshank.errors import ConfigError, ConflictError, InputError, IntegrityError
from redshank.settings import MirrorSettings
from serving.dead_workers import FOLDER
from serving.launch import METRICS, check, check_places, prepare, url
from serving.lifecycle import SETTINGS_FILE

CHECKOUT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_each_server_has_a_home_of_its_own(home: Any) -> None:
    first = prepare(home.with_serving(port=free_port()), {"PATH": "/bin"})
    second = prepare(home.with_serving(port=free_port(), workers=3), {})
    assert first.environment["BENTOML_HOME"] != second.environment["BENTOML_HOME"]
    assert first.environment["PATH"] == "/bin"
    assert first.environment["BENTOML_DO_NOT_TRACK"] == "True"
    overrides = json.loads(second.environment["BENTOML_CONFIG_OVERRIDES"])
    assert overrides["services"]["redshank"]["workers"] == 3
    assert Path(first.environment[SETTINGS_FILE]).is_file()
    assert first.command[1:4] == ("-m", "bentoml", "serve")


def test_a_port_in_use_is_one_clear_error(home: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConflictError, match=r"cannot listen on 127\.0\.0\.1") as error:
            prepare(home.with_serving(port=other.getsockname()[1]), {})
    assert "serving.port" in error.value.hint


def test_what_cannot_work_is_said_before_the_start(home: Any) -> None:
    port = free_port()
    with pytest.raises(InputError, match="has no release") as error:
        prepare(home.with_serving(port=port, model="birds"), {})
    assert "redshank models publish" in error.value.hint
    with pytest.raises(ConfigError, match="anybody could ask"):
        prepare(home.with_serving(port=port, host="0.0.0.0"), {})
    for name, value in (("workers", 0), ("max_batch", 0), ("port", 0), ("poll_s", float("nan"))):
        with pytest.raises(ConfigError, match=rf"serving\.{name} is {value}, expected more"):
            prepare(home.with_serving(**{"port": port, name: value}), {})
    odd: tuple[dict[str, Any], ...] = ({"shadow_share": 1.5}, {"abstain_below": {"gate": -0.1}})
    for wrong in odd:
        with pytest.raises(ConfigError, match=r"expected (0 to 1|more)"):
            prepare(home.with_serving(port=port, **wrong), {})
    with pytest.raises(ConfigError, match="no address"):
        prepare(home.with_serving(port=port, host="::zz", tokens_file=_tokens(home)), {})
    for wrong, expected in (
        ({"port": 70_000}, "1 to 65535"),
        ({"drain_s": -1.0}, "0 or more"),
        ({"capture_domains": ("gate 1",)}, r"serving\.capture_domains: domain 'gate 1'"),
        ({"abstain_below": {"gate 1": 0.5}}, r"serving\.abstain_below: domain 'gate 1'"),
        ({"tokens_file": "/nowhere"}, r"serving\.tokens_file: /nowhere does not exist"),
        ({"tokens_file": "/"}, r"serving\.tokens_file: .*directory"),
    ):
        with pytest.raises(ConfigError, match=expected):
            prepare(home.with_serving(**{"port": port, **wrong}), {})
    salt = home.settings.home.path("client.salt")
    salt.touch()
    with pytest.raises(IntegrityError, match=r"client\.salt"):
        prepare(home.with_serving(port=port), {})
    salt.unlink()
    (home.registry.bundle_path(home.one) / MODEL_FILE).write_bytes(b"changed")
    with pytest.raises(IntegrityError, match="sha256"):
        prepare(home.with_serving(port=port), {})
    shutil.rmtree(home.registry.bundle_path(home.one))
    with pytest.raises(InputError, match="is not in"):
        prepare(home.with_serving(port=port), {})


def test_a_check_changes_nothing(home: Any) -> None:
    settings = home.with_serving(port=free_port(), drain_s=0.0)
    starting = prepare(settings, {})
    check(settings)  # while that server has not bound its port yet
    assert Path(starting.environment[SETTINGS_FILE]).is_file()


@pytest.mark.parametrize("name", ["servers", "spool", "field"])
def test_a_check_says_which_folder_cannot_be_written(
    home: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`os.access` is stood in for, since the rights of root bind nobody."""
    settings = home.with_serving(port=free_port(), capture_domains=("gate",))
    folder = settings.home.path(name)
    folder.mkdir(parents=True, exist_ok=True)
    check_places(settings)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: path != folder)
    with pytest.raises(ConfigError, match=f"{name} cannot be written"):
        check_places(settings)
    folder.rmdir()
    monkeypatch.setattr(os, "access", lambda path, *_, **__: path != folder.parent)
    with pytest.raises(ConfigError, match="cannot be written"):  # it would be made there
        check_places(settings)
    if name != "servers":
        monkeypatch.setattr(os, "access", lambda path, *_, **__: path != folder)
        check_places(home.with_serving(record=False, capture_domains=()))


def test_addresses_of_one_port_have_folders_and_urls_of_their_own(home: Any) -> None:
    port = free_port()
    one, two = (home.with_serving(port=port, host=host) for host in ("127.0.0.1", "127.0.0.2"))
    first = prepare(one, {}).environment[SETTINGS_FILE]
    assert prepare(two, {}).environment[SETTINGS_FILE] != first
    assert Path(first).is_file()
    assert url(one.serving) == f"http://127.0.0.1:{port}"
    assert url(home.with_serving(port=port, host="::1").serving) == f"http://[::1]:{port}"


def _tokens(home: Any) -> str:
    path = home.settings.home.path("tokens.json")
    path.write_text("{}")
    return str(path)


def test_the_command_says_it_in_one_line_without_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "redshank", "serve", "--set", f"home.root={tmp_path}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "has no release" in done.stderr
    assert "Traceback" not in done.stderr


def test_serving_never_loads_the_training_stack() -> None:
    program = (
        "import sys, serving.service\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'torch', 'torchvision', 'onnx', 'sqlalchemy'}, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, check=True)


@pytest.mark.parametrize(
    ("mirror", "reason"),
    [
        (MirrorSettings(every_s=0.0), r"mirror\.every_s is 0\.0"),
        (MirrorSettings(push_to="s3://me:secret@bucket/x"), r"mirror\.push_to: s3://\.\.\.@"),
        (MirrorSettings(push_to="wat://x/y"), r"mirror\.push_to: wat://x/y: Protocol not known"),
        (MirrorSettings(push_to="https://x/y"), r"mirror\.push_to: .* only read from https://"),
        (MirrorSettings(push_to="s3://"), r"mirror\.push_to: s3:// names no bucket"),
    ],
    ids=["interval", "password", "scheme", "web", "bucket"],
)
def test_an_impossible_mirror_is_said_before_the_start(
    home: Any, mirror: MirrorSettings, reason: str
) -> None:
    settings = dataclasses.replace(home.with_serving(port=free_port()), mirror=mirror)
    with pytest.raises(ConfigError, match=reason):
        check(settings)


def test_a_mirror_is_where_the_command_was_given(
    home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, expected in (
        ("elsewhere", str(tmp_path / "elsewhere")),
        ("memory://bucket/field", "memory://bucket/field"),
        ("", ""),
    ):
        base = home.with_serving(port=free_port())
        settings = dataclasses.replace(base, mirror=MirrorSettings(push_to=place))
        launch = prepare(settings, {})
        file = Path(launch.environment[SETTINGS_FILE])
        assert json.loads(file.read_text())["mirror"]["push_to"] == expected


def test_what_a_killed_server_lost_is_known_at_the_next_start(home: Any) -> None:
    settings = home.with_serving(port=free_port())
    launch = prepare(settings, {})
    folder = Path(launch.environment["BENTOML_HOME"]) / METRICS
    folder.mkdir(parents=True)
    code = (
        "import os; from serving.metrics import Metrics; metrics = Metrics();"
        "metrics.predicted(('default', 'v', 'gate', 'live', 'ok'), 3); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, FOLDER: str(folder), "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert (launch.lost_events, prepare(settings, {}).lost_events) == (0, 3)
    assert prepare(settings, {}).lost_events == 0
