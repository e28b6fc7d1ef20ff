"""Frozen dataclasses to plain JSON values and back, strictly.

Stored records start with `schema: int`. A reader takes the schema it knows and the one before
(see `upgrade`), refuses unknown and missing fields by name, and never guesses a type.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from redshank.errors import SchemaError

Record = TypeVar("Record")
_PLAIN = frozenset({str, int, float, bool})


def as_dict(record: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready values, fields in order of declaration."""
    return dataclasses.asdict(record)


def from_dict(
    kind: type[Record], values: Any, *, source: str, ignore_unknown: bool = False
) -> Record:
    """Build a dataclass from JSON values, checking every field.

    Args:
        kind: a dataclass whose fields are JSON values, tuples, dicts or dataclasses.
        values: what `json.loads` gave.
        source: file or table, for the error message.
        ignore_unknown: read past fields that a newer writer added (events only).

    Raises:
        SchemaError: a field is unknown, missing or of another type.
    """
    if not isinstance(values, Mapping):
        raise SchemaError(f"{source}: expected an object, found {type(values).__name__}")
    hints = _hints(typing.cast("Any", kind))
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # generic
    unknown = [name for name in values if name not in fields]
    if unknown and not ignore_unknown:
        raise SchemaError(
            f"{source}: unknown field {unknown[0]!r}{did_you_mean(unknown[0], fields)}"
        )
    found = {}
    for name, field in fields.items():
        if name in values:
            value, hint = values[name], hints[name]
            is_plain = type(value) is hint and hint in _PLAIN  # most are: events come in thousands
            found[name] = value if is_plain else convert(value, hint, f"{source}: {name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{source}: field {name!r} is missing")
    return kind(**found)


def check_schema(values: Any, *, current: int, source: str) -> int:
    """Return the record's schema number when it is `current` or the one before.

    Raises:
        SchemaError: the number is missing, older or newer.
    """
    schema = values.get("schema") if isinstance(values, Mapping) else None
    if not isinstance(schema, int) or not current - 1 <= schema <= current or schema < 1:
        raise SchemaError(
            f"{source}: schema {schema!r} is not readable, this version reads "
            f"{max(1, current - 1)} to {current}",
            hint="Use the redshank that wrote it, or write it again with this one.",
        )
    return schema


SCALARS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def did_you_mean(name: str, known: typing.Iterable[str]) -> str:
    """` Did you mean ...?` when a known name is close to `name`, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Resolved annotations; resolving them anew costs half a millisecond a record."""
    return typing.get_type_hints(kind)


def convert(value: Any, hint: Any, source: str) -> Any:
    """One JSON value as the type of a field.

    Raises:
        SchemaError: it is of another type; the message starts with `source`.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, arguments, source)
    if origin is typing.Literal:
        if value not in arguments:
            raise SchemaError(f"{source}: {value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _convert_tuple(value, arguments, source)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong_type(value, "an object", source)
        return {str(k): convert(v, arguments[1], f"{source}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value, source=source)
    return _convert_scalar(value, hint, source)


def _convert_union(value: Any, arguments: tuple[Any, ...], source: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    return convert(value, next(a for a in arguments if a is not type(None)), source)


def _convert_tuple(value: Any, arguments: tuple[Any, ...], source: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong_type(value, "a list", source)
    if arguments[-1] is Ellipsis:
        return tuple(convert(v, arguments[0], f"{source}[{i}]") for i, v in enumerate(value))
    if len(value) != len(arguments):
        raise SchemaError(f"{source}: expected {len(arguments)} values, found {len(value)}")
    return tuple(
        convert(v, a, f"{source}[{i}]")
        for i, (v, a) in enumerate(zip(value, arguments, strict=True))
    )


def _convert_scalar(value: Any, hint: Any, source: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise _wrong_type(value, SCALARS.get(hint, hint.__name__), source)
    return value


def _wrong_type(value: Any, expected: str, source: str) -> SchemaError:
    return SchemaError(f"{source}: expected {expected}, found {value!r}")
