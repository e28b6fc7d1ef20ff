from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redshank.errors import ConflictError, InputError, IntegrityError
from redshank.healing import ENDS, Gate, State, check_transition, states
from redshank.store.control import ControlStore, open_control
from redshank.store.control_schema import AUDIT, HEALINGS
from redshank.store.engine import open_engine, write
from redshank.trigger import Trigger, make_trigger

from .conftest import Clock

GATE = Gate("class_entropy", "pier", "pass", 0.01, 0.05, 300, None, "fine")


def a_trigger(onset_s: float = 5.0, domains: tuple[str, ...] = ("pier",)) -> Trigger:
    return make_trigger(
        kind="alarm",
        model="default",
        domains=domains,
        onset_at_s=onset_s,
        created_at_s=999_999.0,
        actor="evaluator",
        evidence={"reason": "mean confidence fell", "log10_evidence": 3.2},
    )


def test_a_trigger_is_stored_once_with_one_pending_healing(store: ControlStore) -> None:
    first, second = a_trigger(), a_trigger()
    assert first.trigger_id != second.trigger_id
    assert store.add_trigger(first)
    assert not store.add_trigger(second)
    assert store.triggers() == (first,)
    assert store.trigger(first.trigger_id) == first
    (healing,) = store.healings()
    assert (healing.state, healing.trigger_id) == ("pending", first.trigger_id)
    assert store.healing(first.trigger_id) == store.healing(healing.healing_id) == healing
    assert [row.action for row in store.audit()] == ["trigger"]
    assert store.add_trigger(a_trigger(onset_s=6.0))
    assert len(store.healings("pending")) == 2


def test_a_withdrawn_trigger_ends_a_healing_that_waits(store: ControlStore) -> None:
    trigger = a_trigger()
    for _ in range(2):  # one that never came is stored first; twice is once
        store.withdraw(trigger, reason="labels refute it")
    healing = store.healing(trigger.trigger_id)
    assert (healing.state, healing.reason) == ("vetoed", "labels refute it")
    assert [row.action for row in store.audit()] == ["trigger", "withdrawn", "vetoed"]
    assert store.withdrawn(trigger.trigger_id) == "labels refute it"
    assert store.verify_audit() == 3


def test_a_withdrawn_trigger_leaves_what_is_under_way_and_says_so(store: ControlStore) -> None:
    trigger, other = a_trigger(), a_trigger(onset_s=7.0)
    store.add_trigger(trigger)
    store.add_trigger(other)
    lease = store.acquire("loop", ttl_s=60)
    healing = store.healing(trigger.trigger_id)
    store.transition(healing, "snapshot", reason="enough", actor="loop", lease=lease)
    store.withdraw(dataclasses.replace(trigger, trigger_id="of a replay"), reason="labels say no")
    healing = store.healing(trigger.trigger_id)
    assert (healing.state, healing.reason) == ("snapshot", "enough; but labels say no")
    assert store.healing(other.trigger_id).state == "pending"
    assert store.withdrawn(other.trigger_id) is None
    ended = store.transition(healing, "failed", reason="disk", actor="loop", lease=lease)
    store.withdraw(other, reason="no")
    assert store.healing(trigger.trigger_id) == ended


def test_ids_that_do_not_exist_are_named(store: ControlStore) -> None:
    with pytest.raises(InputError, match="'nothing'"):
        store.trigger("nothing")
    with pytest.raises(InputError, match="'nothing'"):
        store.healing("nothing")


def test_a_transition_is_one_transaction_with_its_audit_row(
    store: ControlStore, clock: Clock
) -> None:
    store.add_trigger(a_trigger())
    (pending,) = store.healings()
    clock.now_s += 10
    moved = store.transition(
        pending, "snapshot", reason="enough", actor="loop", lease=None, champion="b-1"
    )
    assert moved.champion == "b-1"
    assert moved.updated_at > pending.updated_at
    assert store.healings("snapshot") == (moved,)
    row = store.audit()[-1]
    assert (row.action, row.subject, row.actor) == ("snapshot", moved.healing_id, "loop")
    assert row.details == {"from": "pending", "reason": "enough", "champion": "b-1"}

    with pytest.raises(ConflictError, match="is 'snapshot', expected 'pending'"):
        store.transition(pending, "vetoed", reason="", actor="x", lease=None)
    with pytest.raises(ConflictError, match="cannot become 'live'"):
        store.transition(moved, "live", reason="", actor="x", lease=None)
    assert store.healings() == (moved,)
    assert store.verify_audit() == 2


def test_gates_survive_the_round_trip(store: ControlStore) -> None:
    store.add_trigger(a_trigger())
    healing = store.healings()[0]
    path: tuple[State, ...] = ("snapshot", "training", "export", "gates")
    for state in path:
        healing = store.transition(healing, state, reason="", actor="loop", lease=None)
    healing = store.transition(
        healing, "proposed", reason="", actor="loop", lease=None, gates=(GATE,)
    )
    assert store.healing(healing.healing_id).gates == (GATE,)
    assert store.audit()[-1].details["gates"][0]["name"] == "class_entropy"


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(walk=st.lists(st.sampled_from(states()), max_size=8))
def test_no_walk_leaves_the_state_machine(
    walk: list[State], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = open_control(f"sqlite:///{tmp_path_factory.mktemp('walk')}/control.db", clock=Clock())
    store.add_trigger(a_trigger())
    done = 0
    for new in walk:
        before = store.healings()[0]
        try:
            check_transition(before.state, new)
        except ConflictError:
            with pytest.raises(ConflictError):
                store.transition(before, new, reason="", actor="x", lease=None)
            assert store.healings()[0] == before
        else:
            assert store.transition(before, new, reason="", actor="x", lease=None).state == new
            done += 1
    assert store.verify_audit() == 1 + done
    end = store.healings()[0].state
    reachable = [new for new in states() if _allowed(end, new)]
    assert (end in ENDS) == (reachable in ([], ["rolled_back"]))


def _allowed(old: State, new: State) -> bool:
    try:
        check_transition(old, new)
    except ConflictError:
        return False
    return True


def test_the_audit_chain_shows_what_was_changed(url: str, store: ControlStore) -> None:
    for name in ("a", "b", "c"):
        store.record(actor="ann", action="note", subject=name, details={"n": 1.5})
    assert store.verify_audit() == 3
    engine = open_engine(url)
    with write(engine) as connection:
        forged = sa.func.replace(AUDIT.c.record, '"ann"', '"bob"')
        connection.execute(sa.update(AUDIT).where(AUDIT.c.seq == 2).values(record=forged))
    with pytest.raises(IntegrityError, match="row 2"):
        store.verify_audit()
    with write(engine) as connection:
        connection.execute(sa.delete(AUDIT).where(AUDIT.c.seq == 2))
    with pytest.raises(IntegrityError, match="row 3"):
        store.verify_audit()
    engine.dispose()


def test_a_note_keeps_the_state_and_writes_no_audit(store: ControlStore) -> None:
    store.add_trigger(a_trigger())
    lease = store.acquire("a", ttl_s=60)
    assert lease is not None
    noted = store.note(store.healings()[0], lease=lease, reason="10 of 300 images")
    assert store.healings() == (noted,)
    assert (noted.state, noted.reason) == ("pending", "10 of 300 images")
    assert len(store.audit()) == 1
    counted = store.count_attempt(noted, lease=lease)
    assert counted.attempt == 2
    assert store.audit()[-1].action == "resumed"


def test_marks(store: ControlStore) -> None:
    lease = store.acquire("a", ttl_s=60)
    assert lease is not None
    assert store.mark("schedule") is None
    store.set_mark("schedule", "one", lease=lease)
    store.set_mark("schedule", "two", lease=lease)
    assert store.mark("schedule") == "two"
    store.release(lease)
    with pytest.raises(ConflictError):
        store.set_mark("schedule", "three", lease=lease)


def test_rolled_back_reaches_the_healing_of_the_bundle(store: ControlStore) -> None:
    store.add_trigger(a_trigger())
    healing = store.healings()[0]
    path: tuple[State, ...] = ("snapshot", "training", "export", "gates", "shadow", "live")
    for state in path:
        healing = store.transition(
            healing, state, reason="", actor="loop", lease=None, challenger="b-2"
        )
    assert store.mark_rolled_back("b-9", actor="ann", reason="") is None
    back = store.mark_rolled_back("b-2", actor="ann", reason="worse at night")
    assert back is not None
    assert (back.state, back.reason) == ("rolled_back", "worse at night")
    assert store.mark_rolled_back("b-2", actor="ann", reason="") is None


def test_labels_are_inserted_corrected_and_counted(store: ControlStore) -> None:
    digests = [f"{n:064x}" for n in range(1200)]
    rows = [(digest, "gull") for digest in digests]
    counts = store.import_labels(rows, actor="ann", subject="f" * 64, source="a.csv")
    assert (counts.new, counts.changed, counts.same) == (1200, 0, 0)
    again = [(digests[0], "tern"), (digests[1], "gull"), ("e" * 64, "tern")]
    counts = store.import_labels(again, actor="bob", subject="e" * 64, source="b.csv")
    assert (counts.new, counts.changed, counts.same) == (1, 1, 1)
    found = store.labels([*digests, "e" * 64, "d" * 64])
    assert len(found) == 1201
    assert (found[digests[0]], found[digests[1]], found["e" * 64]) == ("tern", "gull", "tern")
    row = store.audit()[-1]
    assert (row.action, row.actor, row.details["source"]) == ("labels", "bob", "b.csv")


ADD = """
import sys
from redshank.store.control import open_control
from redshank.trigger import make_trigger
url, name = sys.argv[1:]
store = open_control(url)
for n in range(12):
    trigger = make_trigger(
        kind="alarm", model="default", domains=["pier"], onset_at_s=float(n), created_at_s=9.0,
        actor=name, evidence={},
    )
    print(n, store.add_trigger(trigger))
"""


def test_two_processes_make_one_row_a_key_and_one_chain(url: str, store: ControlStore) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", ADD, url, name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    added = [line for line in "".join(outputs).splitlines() if line.endswith("True")]
    assert len(added) == len(store.triggers()) == len(store.healings("pending")) == 12
    assert store.verify_audit() == 12


def test_a_crash_inside_a_transition_leaves_nothing(
    url: str, store: ControlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_trigger(a_trigger())
    pending = store.healings()[0]

    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("redshank.store.control_healings.append_audit", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        store.transition(pending, "vetoed", reason="", actor="x", lease=None)
    assert store.healings() == (pending,)
    engine = open_engine(url)
    with engine.begin() as connection:
        assert connection.execute(sa.select(HEALINGS.c.state)).scalars().all() == ["pending"]
    engine.dispose()


def test_ids_come_in_order_of_time(store: ControlStore, clock: Clock) -> None:
    for onset in range(3):
        clock.now_s += 2
        store.add_trigger(a_trigger(onset_s=onset))
    ids = [healing.healing_id for healing in store.healings()]
    assert all(a < b for a, b in itertools.pairwise(ids))


def test_an_unreachable_database_is_an_error_for_users(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises((InputError, OSError)):
        open_control(f"sqlite:///{blocked}/control.db")
