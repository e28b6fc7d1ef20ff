from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from redshank.errors import ConfigError, ConflictError, InputError
from redshank.store.engine import open_engine, write
from redshank.store.monitor import Cursor, MonitorStore, TickWrite, open_monitor
from redshank.store.monitor_retention import checkpoints, last_tidied, tidy
from redshank.store.monitor_rows import (
    Acceptance,
    Alarm,
    Defects,
    Evidence,
    ReferenceRow,
    StreamKey,
    StreamRow,
    Window,
)
from redshank.store.monitor_schema import DEFECTS, METADATA

KEY = StreamKey("default", "b1", "harbour")
WINDOW = Window(
    key=KEY,
    tick=7,
    at_s=8.0,
    events=3,
    errors=1,
    scenes=2,
    cells_CZ=np.random.default_rng(0).random((4, 19)),
    novelty_Q=np.random.default_rng(1).random(11),
    mean_confidence=0.9,
    absolute=None,
    relative=Evidence(1.5, 0.5, 3.7),
    state="healthy",
)
STREAM = StreamRow(KEY, 7, 7.9, "healthy", "All is well.", {"images": 2}, {"M": [0.1, 1e200]})
ALARM = Alarm(
    alarm_id="7-abc",
    key=KEY,
    kind="degraded",
    cause="look",
    reference="relative",
    onset_s=5.0,
    raised_tick=7,
    raised_s=8.0,
    evidence=Evidence(4.0, 3.9, 3.7),
    images_since_onset=20,
    scenes_since_onset=10,
    sentence="It got worse.",
    trigger={"kind": "alarm"},
)
REFERENCE = ReferenceRow(KEY, "relative", 6, 150.0, WINDOW.cells_CZ, WINDOW.novelty_Q)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/monitor.db"
        return
    url = str(request.getfixturevalue("postgresql_url"))
    yield url
    engine = open_engine(url)
    METADATA.drop_all(engine)
    engine.dispose()


@pytest.fixture
def store(database: str) -> Iterator[MonitorStore]:
    opened = open_monitor(database)
    yield opened
    opened.engine.dispose()


def full(tick: int = 7) -> TickWrite:
    return TickWrite(
        tick=tick,
        cursors={"w-1.db": Cursor(seq=30, tick=tick)},
        windows=(dataclasses.replace(WINDOW, tick=tick),),
        streams=(STREAM,),
        references=(dataclasses.replace(REFERENCE, tick=tick),),
        alarms=(ALARM,),
    )


def test_rows_come_back_as_they_went_in(store: MonitorStore) -> None:
    assert store.last_tick() == -1
    store.commit(full())
    (window,) = store.windows()
    assert window.cells_CZ.tobytes() == WINDOW.cells_CZ.tobytes()
    assert window.novelty_Q.tobytes() == WINDOW.novelty_Q.tobytes()
    plain = {f.name for f in dataclasses.fields(Window)} - {"cells_CZ", "novelty_Q"}
    assert all(getattr(window, name) == getattr(WINDOW, name) for name in plain)
    assert store.streams() == (STREAM,)
    assert store.alarms() == (ALARM,)
    assert store.references(KEY) == ((7, 150.0),)
    assert store.cursors() == {"w-1.db": Cursor(30, 7)}
    assert store.last_tick() == 7


def test_windows_are_filtered(store: MonitorStore) -> None:
    store.commit(full(7))
    store.commit(full(8))
    assert [w.tick for w in store.windows(from_tick=8)] == [8]
    assert store.windows(domain="elsewhere") == ()
    assert len(store.windows(model="default", version="b1", domain="harbour")) == 2


def test_a_failing_tick_leaves_nothing(store: MonitorStore) -> None:
    store.commit(full())
    again = dataclasses.replace(full(), cursors={"w-1.db": Cursor(99, 9)})
    with pytest.raises(sa.exc.IntegrityError):  # the window exists already
        store.commit(again)
    assert store.cursors() == {"w-1.db": Cursor(30, 7)}


def test_alarms_are_replaced_and_triggers_are_sent_once(store: MonitorStore) -> None:
    store.commit(full())
    assert [a.alarm_id for a in store.unsent_triggers()] == ["7-abc"]
    store.mark_sent("7-abc")
    assert store.unsent_triggers() == ()
    closed = dataclasses.replace(ALARM, closed_s=9.0, closed_reason="over", trigger_sent=True)
    store.commit(TickWrite(tick=8, alarms=(closed,)))
    assert store.alarms(open_only=True) == ()
    assert store.alarms() == (closed,)


def test_a_second_evaluator_is_refused(store: MonitorStore, database: str) -> None:
    second = open_monitor(database)
    with (
        store.only_writer(),
        pytest.raises(ConflictError, match="another evaluator already works on"),
        second.only_writer(),
    ):
        pass
    with second.only_writer():
        pass
    second.engine.dispose()


def test_another_schema_and_a_missing_database_are_refused(
    store: MonitorStore, database: str, tmp_path: Path
) -> None:
    store.set_meta("schema", "99")
    with pytest.raises(ConfigError, match="has schema 99, this version reads 2"):
        open_monitor(database, create=False)
    with pytest.raises(InputError, match="does not exist"):
        open_monitor(tmp_path / "none.db", create=False)


def test_tidying_keeps_what_lies_after_the_newest_checkpoint_before_the_horizon(
    store: MonitorStore,
) -> None:
    assert last_tidied(store.engine) is None
    for tick in (7, 17, 27):
        store.commit(full(tick))
        tidy(store.engine, tick=tick, horizon=tick - 12, gone=())
        tidy(store.engine, tick=tick, horizon=tick - 12, gone=())  # twice is once
    assert last_tidied(store.engine) == 27
    assert [w.tick for w in store.windows()] == [17, 27]  # 15 is the horizon, 7 the checkpoint
    base = checkpoints(store.engine)[KEY]
    assert (base.tick, base.memory) == (7, STREAM.memory)
    tidy(store.engine, tick=27, horizon=20, gone=(KEY,))
    assert (store.windows(), store.streams(), checkpoints(store.engine)) == ((), (), {})
    assert store.alarms() == (ALARM,)


def test_an_acceptance_is_kept_with_its_number(store: MonitorStore) -> None:
    assert store.requests_seq() == 0
    acceptance = Acceptance(12, KEY, 7, 8.5, "eve", "winter")
    store.commit(TickWrite(tick=7, acceptances=(acceptance,), requests_seq=12))
    store.commit(TickWrite(tick=8))
    assert store.acceptances() == (acceptance,)
    assert (store.requests_seq(), store.last_tick()) == (12, 8)


def test_forgotten_spools_lose_their_cursor(store: MonitorStore) -> None:
    store.commit(full())
    store.forget_spools(["w-1.db"])
    assert store.cursors() == {}
    with write(store.engine) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM monitor_cursors")).scalar() == 0


def test_a_database_of_the_last_schema_is_upgraded_with_its_rows(
    store: MonitorStore, database: str
) -> None:
    store.commit(TickWrite(tick=WINDOW.tick, windows=(WINDOW,)))
    with store.engine.begin() as connection:
        for name in DEFECTS:
            connection.execute(sa.text(f"ALTER TABLE monitor_windows DROP COLUMN {name}"))
    store.set_meta("schema", "1")
    with pytest.raises(ConfigError, match="has schema 1"):
        open_monitor(database, create=False)  # a reader changes nothing
    upgraded = open_monitor(database)
    (window,) = upgraded.windows()
    assert (window.defects, window.scenes) == (Defects(), WINDOW.scenes)
    upgraded.engine.dispose()
    again = open_monitor(database, create=False)
    assert again.meta("schema") == "2"
    again.engine.dispose()
