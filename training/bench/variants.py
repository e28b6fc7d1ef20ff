"""What a method of a bench is: a name for some training settings.

A file of variants is TOML. Each starts from `base` (a built-in name, or another variant of the
file; none: the settings as they are) and changes any training key:

    [variants.mine]
    base = "fixmatch+fixclr"
    labels_per_class = "all"            # optional: whatever --labels-per-class says
    "training.fixclr.weight" = 0.3
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redshank.errors import ConfigError, SchemaError, UsageError
from redshank.records import as_dict, did_you_mean, from_dict
from redshank.settings import TrainingSettings

Labels = int | None
AS_ASKED = 0
"""Labels per class of a variant that leaves them to the command."""

BASE_METHODS = tuple(
    name
    for name in typing.get_args(typing.get_type_hints(TrainingSettings)["method"])
    if name != "supervised"
)
WITHOUT_FIXCLR = {"training.fixclr.weight": 0.0}

BUILT_IN: dict[str, dict[str, Any]] = {
    "supervised": {"training.method": "supervised", **WITHOUT_FIXCLR},
    "supervised-all-labels": {"base": "supervised", "labels_per_class": "all"},
    **{name: {"training.method": name, **WITHOUT_FIXCLR} for name in BASE_METHODS},
    **{f"{name}+fixclr": {"training.method": name} for name in BASE_METHODS},
}
"""Labels alone, and every base method with and without FixCLR as the settings have it."""


@dataclass(frozen=True)
class Variant:
    """One method."""

    name: str
    labels_per_class: Labels
    """None: all; `AS_ASKED`: what the command says."""
    settings: TrainingSettings


def read_variants(path: Path) -> dict[str, dict[str, Any]]:
    """The `[variants.NAME]` tables of a TOML file, flat, by dotted key.

    Raises:
        ConfigError: the file is missing, no TOML, or holds something else.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"variants {path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    tables = values.pop("variants", {})
    if values or not isinstance(tables, dict):
        raise ConfigError(
            f"{path}: unknown key {next(iter(values), 'variants')!r}",
            hint="A file of variants holds [variants.NAME] tables only.",
        )
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: variants.{name} is {table!r}, expected a table")
        if name in BUILT_IN:
            raise ConfigError(
                f"{path}: variants.{name} is built in", hint="Give yours another name."
            )
    return {name: dict(_flat(table)) for name, table in tables.items()}


def choose_variants(
    names: Sequence[str], own: Mapping[str, dict[str, Any]], settings: TrainingSettings
) -> tuple[Variant, ...]:
    """Resolves methods by name.

    Args:
        names: built-in ones or the user's.
        own: what `read_variants` gave.
        settings: what all start from.

    Raises:
        UsageError: a name is unknown.
        ConfigError: a variant has an impossible key or value.
    """
    tables = {**BUILT_IN, **own}
    for name in names:
        if name not in tables:
            raise UsageError(
                f"method {name!r} is unknown{did_you_mean(name, tables)}\n"
                f"  Known: {', '.join(tables)}."
            )
    return tuple(_resolve(name, tables, settings) for name in dict.fromkeys(names))


def _resolve(
    name: str, tables: Mapping[str, dict[str, Any]], settings: TrainingSettings
) -> Variant:
    values = as_dict(settings)
    labels: Any = "as asked"
    for table_name in reversed(_ancestry(name, tables)):
        for key, value in tables[table_name].items():
            if key == "labels_per_class":
                labels = value
            elif key != "base":
                _assign(values, key, value, table_name)
    try:
        resolved = from_dict(TrainingSettings, values, source=f"variant {name}")
    except SchemaError as error:
        raise ConfigError(error.message) from error
    return Variant(name, _labels(labels, name), resolved)


def _ancestry(name: str, tables: Mapping[str, dict[str, Any]]) -> list[str]:
    """The variant, its base, the base's base, ..."""
    found = [name]
    while base := tables[found[-1]].get("base"):
        if base not in tables:
            raise ConfigError(
                f"variant {found[-1]}: base {base!r} is unknown{did_you_mean(str(base), tables)}"
            )
        if base in found:
            raise ConfigError(f"variant {name}: {' -> '.join([*found, base])} is a circle")
        found.append(base)
    return found


def _assign(values: dict[str, Any], key: str, value: Any, variant: str) -> None:
    section, *names = key.split(".")
    if section != "training" or not names:
        raise ConfigError(
            f"variant {variant}: unknown key {key!r}",
            hint="Keys are base, labels_per_class and training settings, like "
            '"training.fixclr.weight".',
        )
    for place, inner in enumerate(names[:-1]):
        if not isinstance(values.get(inner), dict):
            known = ".".join(["training", *names[: place + 1]])
            raise ConfigError(
                f"variant {variant}: no section {known!r}{did_you_mean(inner, values)}"
            )
        values = values[inner]
    if names[-1] not in values:
        raise ConfigError(
            f"variant {variant}: unknown key {key!r}{did_you_mean(names[-1], values)}"
        )
    values[names[-1]] = value


def _labels(value: Any, variant: str) -> Labels:
    if value == "as asked":
        return AS_ASKED
    if value == "all":
        return None
    if type(value) is int and value >= 1:
        return value
    raise ConfigError(
        f"variant {variant}: labels_per_class is {value!r}, expected a whole number from 1 or 'all'"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
