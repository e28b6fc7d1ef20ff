"""Write the pages that follow from code: docs/cli.md, docs/settings.md, docs/contracts.md.

`python docs/generate.py` writes them, `--check` fails when a page is not what the code says.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import os
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from redshank import bundle, dataset, events, healing, http_api, registry, run, settings, trigger
from redshank.cli import build_parser

DOCS = Path(__file__).resolve().parent
GOLDEN = DOCS.parent / "tests" / "golden"
HEAD = "<!-- Written by docs/generate.py from the code: change the code, then `make format`. -->\n"
CONTRACTS: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (dataset, ("dataset_header", "dataset_item")),
    (run, ("run",)),
    (bundle, ("bundle",)),
    (registry, ("release",)),
    (events, ("event",)),
    (trigger, ("trigger",)),
    (healing, ("healing", "healing_states", "audit_row")),
    (http_api, ("http_prediction", "http_error")),
)


def cli_page() -> str:
    """The command's own `--help`, verb by verb, action by action."""
    os.environ["COLUMNS"] = "100"
    return "".join([HEAD, "# The command\n", *_help(build_parser())])


def _help(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"\n## {parser.prog}\n\n```text\n{parser.format_help()}```\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _help(inner)


def settings_page() -> str:
    """Every section of redshank.toml with types, defaults and meaning."""
    parts = [HEAD, "# Settings\n\n", (inspect.getdoc(settings) or "") + "\n"]
    _section(settings.Settings, "", parts)
    return "".join(parts)


def _section(kind: type[typing.Any], name: str, parts: list[str]) -> None:
    hints, documents = typing.get_type_hints(kind), field_docs(kind)
    plain = [f for f in dataclasses.fields(kind) if not dataclasses.is_dataclass(hints[f.name])]
    if plain:
        parts.append(f"\n## [{name}]\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
        for field in plain:
            kind_name = _type_name(hints[field.name])
            meaning = documents.get(field.name, "")
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            parts.append(f"| `{field.name}` | {kind_name} | `{default!r}` | {meaning} |\n")
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            inner = f"{name}.{field.name}" if name else field.name
            _section(typing.cast("type[typing.Any]", hints[field.name]), inner, parts)


def field_docs(kind: type[typing.Any]) -> dict[str, str]:
    """The string under each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _type_name(hint: object) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(typing.cast("type", hint), str(hint))


def contracts_page() -> str:
    """Each contract's module text and its golden examples."""
    parts = [HEAD, "# Contracts\n\nThe files and rows in which the stages meet.\n"]
    for module, examples in CONTRACTS:
        parts.append(f"\n## {module.__name__}\n\n```text\n{inspect.getdoc(module)}\n```\n")
        for example in examples:
            text = (GOLDEN / f"{example}.json").read_text(encoding="utf-8")
            parts.append(f"\n`{example}`:\n\n```json\n{text}```\n")
    return "".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "contracts.md": contracts_page,
}


def generate(*, check: bool) -> list[str]:
    """Write (or with `check` compare) every page; returns the names that differed."""
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    differing = generate(check="--check" in sys.argv)
    if differing and "--check" in sys.argv:
        sys.exit(f"docs/{', docs/'.join(differing)}: not what the code says; run `make format`")
