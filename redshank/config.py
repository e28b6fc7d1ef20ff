"""`redshank.toml`, environment and command line into one frozen `Settings`.

Later wins: defaults, file, environment (`REDSHANK_TRAINING__FIXCLR__WEIGHT=0.2`), command line
(`--set training.fixclr.weight=0.2`). The file is `--config PATH`, else `$REDSHANK_CONFIG`, else
`redshank.toml` in the current folder if there is one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from redshank.errors import ConfigError, SchemaError
from redshank.records import convert, did_you_mean, from_dict
from redshank.settings import Settings

FILE = "redshank.toml"
PREFIX = "REDSHANK_"
ALL_KEYS = "All keys: docs/settings.md."
RESERVED = frozenset({"REDSHANK_CONFIG"})


def load_settings(
    path: Path | None = None,
    *,
    overrides: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check all settings.

    Args:
        path: the TOML file; None looks in the environment, then in the current folder.
        overrides: `section.key=value` texts, as given to `--set`.
        environment: `os.environ` unless a test gives another.

    Raises:
        ConfigError: unknown key, wrong type, or a file that is no TOML.
    """
    env = os.environ if environment is None else environment
    file = _find(path, env)
    values = _read_toml(file) if file else {}
    source = str(file) if file else "settings"
    _check_keys(Settings, values, source, "")
    try:
        for name, text in sorted(env.items()):
            if name.startswith(PREFIX) and "__" in name and name not in RESERVED:
                _assign(values, name.removeprefix(PREFIX).lower().split("__"), text, name)
        for override in overrides:
            key, sign, text = override.partition("=")
            if not sign:
                raise ConfigError(
                    f"--set {override}: expected section.key=value",
                    hint=f"Like --set training.steps=500. {ALL_KEYS}",
                )
            _assign(values, key.strip().split("."), text.strip(), f"--set {key.strip()}")
        return from_dict(Settings, values, source=source)
    except SchemaError as error:
        raise ConfigError(error.message, hint=ALL_KEYS) from error


def _find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    if path is None and env.get("REDSHANK_CONFIG"):
        path = Path(env["REDSHANK_CONFIG"])
    if path is not None:
        return path
    return Path(FILE) if Path(FILE).is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(
            f"configuration {path} does not exist",
            hint=f"Give another file, or none for {FILE} here or the defaults. {ALL_KEYS}",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}",
            hint=f'Expected lines like [training], steps = 500, method = "fixmatch". {ALL_KEYS}',
        ) from error


def _check_keys(kind: type[Any], values: Mapping[str, Any], source: str, section: str) -> None:
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            place = f" in [{section}]" if section else ""
            raise ConfigError(
                f"{source}: unknown key {name!r}{place}{_meant(name, hints)}", hint=ALL_KEYS
            )
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            inner = f"{section}.{name}" if section else name
            _check_keys(typing.cast("type[Any]", hints[name]), value, source, inner)


def _assign(values: dict[str, Any], keys: list[str], text: str, source: str) -> None:
    """Set one nested value from text, typed by the field it belongs to."""
    kind: Any = Settings
    for key in keys[:-1]:
        kind = _field_type(kind, key, source)
        values = values.setdefault(key, {})
    kind = _field_type(kind, keys[-1], source)
    value = _parse(text, kind, source)
    convert(value, kind, source)  # here the message names where it was set
    values[keys[-1]] = value


def _field_type(kind: Any, key: str, source: str) -> Any:
    hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
    if key not in hints:
        raise ConfigError(f"{source}: unknown key {key!r}{_meant(key, hints)}", hint=ALL_KEYS)
    return hints[key]


def _meant(name: str, hints: Mapping[str, Any]) -> str:
    """A key like it; of a key without its section, the keys with one."""
    owners = [
        f"{section}.{name}"
        for section, kind in hints.items()
        if dataclasses.is_dataclass(kind) and name in typing.get_type_hints(kind)
    ]
    return f". Did you mean {' or '.join(owners)}?" if owners else did_you_mean(name, hints)


def _parse(text: str, kind: Any, source: str) -> Any:
    if kind is str or typing.get_origin(kind) is typing.Literal:
        return text
    if typing.get_origin(kind) is tuple and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if dataclasses.is_dataclass(kind):
        keys = ", ".join(typing.get_type_hints(kind))
        raise ConfigError(f"{source}: a section, expected one of its keys: {keys}", hint=ALL_KEYS)
    try:
        return json.loads(text)
    except ValueError:
        return text  # `convert` says what was expected
