from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from redshank.store.control import ControlStore, open_control
from redshank.store.control_schema import METADATA
from redshank.store.engine import open_engine
from tests.redshank.store.postgresql_server import find_programs, postgresql


class Clock:
    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL is installed (initdb not found)")
    server = postgresql(programs)
    try:
        url = server.__enter__()
    except (subprocess.SubprocessError, KeyError) as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield url
    server.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/control.db"
    server = str(request.getfixturevalue("postgresql_url"))
    engine = open_engine(server)
    METADATA.drop_all(engine)
    engine.dispose()
    return server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[ControlStore]:
    opened = open_control(url, clock=clock)
    yield opened
    opened.close()
