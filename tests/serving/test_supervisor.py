from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import supervisor

CHECKOUT = Path(__file__).parents[2]
BUSY = """
import os, signal, sys
from bentoml._internal.utils.circus import create_standalone_arbiter
from circus.watcher import Watcher
from serving.supervisor import mend_supervisor

mend_supervisor({"bentoml_cli"})
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


def test_a_container_replaces_dead_workers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_CONTAINERIZED", "true")
    for folder, left in ((tmp_path / "none", "true"), (tmp_path, None)):
        monkeypatch.setattr(supervisor, "FOLDER", folder)
        supervisor.mend_supervisor(())
        assert os.environ.get("BENTOML_CONTAINERIZED") == left
