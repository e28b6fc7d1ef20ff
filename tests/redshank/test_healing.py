from __future__ import annotations

import dataclasses
import itertools

import pytest

from redshank import healing
from redshank.errors import ConflictError, IntegrityError
from redshank.healing import AuditRow, audit_sha256, check_chain, check_transition
from redshank.trigger import make_trigger


def _chain(length: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for seq in range(1, length + 1):
        row = AuditRow(
            schema=healing.SCHEMA,
            seq=seq,
            at="2026-11-22T09:00:00.000Z",
            actor="a",
            action="x",
            subject=str(seq),
            details={"n": seq},
            previous_sha256=rows[-1].sha256 if rows else "",
            sha256="",
        )
        rows.append(dataclasses.replace(row, sha256=audit_sha256(row)))
    return rows


def test_whole_chain_is_good() -> None:
    assert check_chain(_chain(5)) == 5
    assert check_chain([]) == 0


@pytest.mark.parametrize("broken", range(5))
def test_changed_dropped_or_swapped_row_breaks_the_chain(broken: int) -> None:
    rows = _chain(6)
    changed = [*rows]
    changed[broken] = dataclasses.replace(rows[broken], actor="somebody else")
    swapped = [*rows]
    swapped[broken], swapped[broken + 1] = rows[broken + 1], rows[broken]
    for trail in (changed, swapped, rows[:broken] + rows[broken + 1 :]):
        with pytest.raises(IntegrityError, match="broken at row"):
            check_chain(trail)


def test_straight_way_is_open() -> None:
    way: list[healing.State] = ["pending", "snapshot", "training", "export", "gates"]
    way += ["shadow", "canary", "live", "rolled_back"]
    for old, new in itertools.pairwise(way):
        check_transition(old, new)


@pytest.mark.parametrize("old", healing.states())
def test_ends_end_and_all_else_can_fail(old: healing.State) -> None:
    if old in healing.ENDS:
        with pytest.raises(ConflictError):
            check_transition(old, "failed")
    else:
        check_transition(old, "failed")
    with pytest.raises(ConflictError):
        check_transition(old, "pending")


def test_no_training_result_goes_live_without_gates() -> None:
    for old in ("pending", "snapshot", "training", "export"):
        with pytest.raises(ConflictError, match="cannot become 'live'"):
            check_transition(old, "live")


def test_a_person_is_asked_after_the_gates_only() -> None:
    def follows(old: healing.State, new: healing.State) -> bool:
        try:
            check_transition(old, new)
        except ConflictError:
            return False
        return True

    states = healing.states()
    assert [old for old in states if follows(old, "proposed")] == ["gates"]
    assert [new for new in states if follows("proposed", new)] == [
        "shadow",
        "canary",
        "live",
        "rejected",
        "failed",
        "superseded",
    ]


def _key(kind: str, domains: list[str], onset_at_s: float | None, created_at_s: float) -> str:
    return make_trigger(
        kind=kind,  # type: ignore[arg-type]  # parametrised
        model="default",
        domains=domains,
        onset_at_s=onset_at_s,
        created_at_s=created_at_s,
        actor="t",
        evidence={},
    ).idempotency_key


def test_same_reason_has_the_same_key() -> None:
    key = _key("alarm", ["b", "a"], 10.0, 20.0)
    assert key == _key("alarm", ["a", "b", "a"], 10.0, 99.0)
    others = [
        _key("alarm", ["a"], 10.0, 20.0),
        _key("alarm", ["a", "b"], 11.0, 20.0),
        _key("manual", ["a", "b"], 10.0, 20.0),
    ]
    assert len({key, *others}) == 4
    assert _key("manual", ["a"], None, 20.0) != _key("manual", ["a"], None, 21.0)
