from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.redshank.store.postgresql_server import find_programs, postgresql


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
