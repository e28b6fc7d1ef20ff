from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from redshank.errors import ConfigError, ConflictError, InputError
from redshank.store import engine as store

NUMBERS = sa.Table("numbers", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True))


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    opened = store.open_engine(tmp_path / "deep" / "a.db")
    with store.write(opened) as connection:
        NUMBERS.create(connection)
    return opened


def numbers(engine: sa.Engine) -> list[int]:
    with store.read(engine) as connection:
        return list(connection.execute(sa.select(NUMBERS.c.n).order_by(NUMBERS.c.n)).scalars())


def test_a_path_and_its_url_are_the_same_database(tmp_path: Path, engine: sa.Engine) -> None:
    with store.write(engine) as connection:
        connection.execute(sa.insert(NUMBERS).values(n=1))
    assert numbers(store.open_engine(f"sqlite:///{tmp_path}/deep/a.db", create=False)) == [1]


def test_an_error_rolls_everything_back(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), store.write(engine) as connection:
        connection.execute(sa.insert(NUMBERS), [{"n": 1}, {"n": 1}])
    assert numbers(engine) == []


def test_journal_is_a_rollback_journal(engine: sa.Engine) -> None:
    with store.read(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


def test_two_read_modify_writes_never_lose_one(engine: sa.Engine) -> None:
    def add() -> None:
        for _ in range(20):
            with store.write(engine) as connection:
                top = connection.execute(sa.select(sa.func.max(NUMBERS.c.n))).scalar()
                connection.execute(sa.insert(NUMBERS).values(n=(top or 0) + 1))

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(engine) == list(range(1, 61))


def test_a_reader_does_not_block_while_a_writer_is_open(engine: sa.Engine) -> None:
    with store.write(engine) as connection:
        connection.execute(sa.insert(NUMBERS).values(n=1))
        assert numbers(engine) == []


def test_a_database_locked_for_too_long_is_a_conflict(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUSY_S", 0.05)
    impatient = store.open_engine(str(engine.url))
    with (
        store.write(engine),
        pytest.raises(ConflictError, match="was locked by another process"),
        store.write(impatient),
    ):
        pass


def test_insert_if_new_tells_whether_the_row_was_new(engine: sa.Engine) -> None:
    with store.write(engine) as connection:
        insert = store.insert_if_new(engine, NUMBERS, {"n": 7})
        assert connection.execute(insert).rowcount == 1
        assert connection.execute(insert).rowcount == 0


def test_a_second_holder_of_a_role_is_refused_also_across_processes(
    engine: sa.Engine,
) -> None:
    code = (
        "import sys; from redshank.store.engine import *;"
        "e = open_engine(sys.argv[1]); l = only_writer(e, 'evaluator'); l.__enter__();"
        "print('mine', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(engine.url.database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"mine\n"
        with (
            pytest.raises(ConflictError, match="another evaluator already works on"),
            store.only_writer(engine, "evaluator"),
        ):
            pass
        child.kill()
    with store.only_writer(engine, "evaluator"):  # a killed holder leaves nothing behind
        pass


def test_missing_and_strange_databases_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        store.open_engine(tmp_path / "none.db", create=False)
    with pytest.raises(ConfigError, match="neither a file nor a PostgreSQL URL"):
        store.open_engine("mysql://host/x")
    with pytest.raises(ConfigError, match="cannot be read"):
        store.open_engine("://")
    (tmp_path / "text.db").write_text("this is no database at all" * 100)
    with pytest.raises(InputError, match="not a database"):
        numbers(store.open_engine(tmp_path / "text.db"))
