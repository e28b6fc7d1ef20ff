"""The evaluator on a real PostgreSQL: the same states, and replay finds no difference."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from monitoring.evaluator import Evaluator
from monitoring.replay import differing
from monitoring.surroundings import Surroundings
from redshank.store.monitor import open_monitor
from tests.monitoring.field import PLAN, START, Site, write_spool, write_test_bundle
from tests.redshank.store.postgresql_server import find_programs, postgresql

PROGRAMS = find_programs()


@pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL is installed (initdb not found)")
def test_evaluator_on_postgresql(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    write_test_bundle(tmp_path / "bundles")
    write_spool(tmp_path / "spool", [Site("home"), Site("fog", 25, spread=0.25)], 40)
    server = postgresql(PROGRAMS)
    try:
        url = server.__enter__()
    except (subprocess.SubprocessError, KeyError) as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    try:
        store = open_monitor(url)
        around = Surroundings(tmp_path / "spool", tmp_path / "bundles", lambda _: None, None, 0.0)
        with store.only_writer():
            done = Evaluator(store, PLAN, around, clock=lambda: START + 40).pass_once()
        assert done.events == 800
        assert {s.key.domain: s.state for s in store.streams()} == {
            "home": "healthy",
            "fog": "degraded",
        }
        assert differing(store, tmp_path / "bundles", PLAN) == []
        store.engine.dispose()
    finally:
        server.__exit__(None, None, None)
