from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from redshank.errors import SchemaError
from redshank.records import as_dict, check_schema, did_you_mean, from_dict


@dataclass(frozen=True)
class Inner:
    share: float


@dataclass(frozen=True)
class Outer:
    schema: int
    name: str
    kind: Literal["a", "b"]
    inner: Inner | None
    pair: tuple[int, str]
    many: tuple[Inner, ...]
    table: dict[str, Inner]
    anything: dict[str, Any]
    note: str = ""


GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "x",
    "kind": "a",
    "inner": {"share": 1},
    "pair": [1, "y"],
    "many": [{"share": 0.5}],
    "table": {"k": {"share": 2.0}},
    "anything": {"free": [1, None]},
}


def test_round_trip_keeps_types() -> None:
    record = from_dict(Outer, GOOD, source="t")
    assert record.inner == Inner(1.0)
    assert record.pair == (1, "y")
    assert from_dict(Outer, as_dict(record), source="t") == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "unknown field 'nmae'. Did you mean 'name'?"),
        ({"name": 3}, "t: name: expected text, found 3"),
        ({"schema": True}, "expected a whole number, found True"),
        ({"kind": "c"}, "'c' is none of 'a', 'b'"),
        ({"inner": {"share": "1"}}, "inner: share: expected a number"),
        ({"pair": [1]}, "expected 2 values, found 1"),
        ({"many": {"share": 1}}, "expected a list"),
        ({"table": []}, "expected an object"),
    ],
)
def test_wrong_value_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as error:
        from_dict(Outer, GOOD | change, source="t")
    assert message in str(error.value)


def test_missing_field_is_named() -> None:
    with pytest.raises(SchemaError, match="field 'kind' is missing"):
        from_dict(Outer, {k: v for k, v in GOOD.items() if k != "kind"}, source="t")
    with pytest.raises(SchemaError, match="expected an object, found list"):
        from_dict(Outer, [], source="t")


@pytest.mark.parametrize(("current", "schema", "ok"), [(1, 1, True), (2, 1, True), (3, 1, False)])
def test_reader_takes_this_schema_and_the_one_before(current: int, schema: int, ok: bool) -> None:
    if ok:
        assert check_schema({"schema": schema}, current=current, source="t") == schema
        return
    with pytest.raises(SchemaError, match="reads 2 to 3"):
        check_schema({"schema": schema}, current=current, source="t")


@pytest.mark.parametrize("values", [{}, {"schema": 0}, {"schema": "1"}, {"schema": 9}, []])
def test_other_schemas_are_refused(values: Any) -> None:
    with pytest.raises(SchemaError, match="not readable"):
        check_schema(values, current=1, source="t")


def test_nothing_close_means_no_suggestion() -> None:
    assert did_you_mean("zzz", ["threshold"]) == ""
