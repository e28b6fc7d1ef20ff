from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from redshank.errors import ConfigError
from serving import supervisor

HOST = "REDSHANK_SERVING__HOST"
CHECKOUT = Path(__file__).parents[2]
BUSY = """
import os, signal, sys
import click
from bentoml._internal.utils.circus import create_standalone_arbiter
from circus.watcher import Watcher
from serving.supervisor import mend_supervisor

with click.Context(click.Command("serve"), info_name="serve"):
    mend_supervisor()
worker = Watcher("worker", sys.executable, args=["-c", "import time; time.sleep(300)"])
arbiter = create_standalone_arbiter([worker])

def busy(_started):
    arbiter._exclusive_running_command = "manage_watchers"
    os.kill(os.getpid(), signal.SIGTERM)
    arbiter.loop.call_later(1.0, setattr, arbiter, "_exclusive_running_command", None)

arbiter.start(busy)
print("ended")
"""


def test_a_signal_while_a_worker_is_replaced_counts() -> None:
    command = [sys.executable, "-c", BUSY]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


def test_only_the_command_that_serves_a_bento_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("BENTOML_CONTAINERIZED", HOST):
        monkeypatch.setenv(name, "as it was")
    monkeypatch.setattr(supervisor, "FOLDER", tmp_path)
    monkeypatch.setattr(supervisor, "packed_settings", _cannot_work)
    supervisor.mend_supervisor()  # no command at all: tests, tools
    with click.Context(click.Command("build"), info_name="build"):
        supervisor.mend_supervisor()
    assert (os.environ["BENTOML_CONTAINERIZED"], os.environ[HOST]) == ("as it was",) * 2
    context = click.Context(click.Command("serve"), info_name="serve")
    context.params = {"host": "127.0.0.2"}
    with context, pytest.raises(SystemExit) as end:
        supervisor.mend_supervisor()
    assert end.value.code == 1
    assert capsys.readouterr().err == "redshank: no disk\n"
    assert os.environ[HOST] == "127.0.0.2"
    assert "BENTOML_CONTAINERIZED" not in os.environ


def _cannot_work(_environment: object) -> None:
    raise ConfigError("no disk")
