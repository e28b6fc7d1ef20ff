"""Stand-ins that have the names of NVIDIA's own TensorRT 11.4 bindings, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SNAPSHOT = json.loads((Path(__file__).parent / "export" / "trt_api_11.4.json").read_text())["api"]


class Recorder:
    """An object of one class of the snapshot: other members are refused, calls are written down."""

    def __init__(self, kind: str, calls: list[tuple[Any, ...]], **members: Any) -> None:
        self.__dict__.update(_kind=kind, _calls=calls, _members=members)

    def __getattr__(self, name: str) -> Any:
        self._check(name)
        member = self._members.get(name)
        if member is not None and not callable(member):
            return member

        def call(*values: Any, **named: Any) -> Any:
            self._calls.append((self._kind, name, *values, *named.items()))
            return member(*values, **named) if member else True

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        self._check(name)
        self._calls.append((self._kind, name, value))

    def _check(self, name: str) -> None:
        if name not in SNAPSHOT[self._kind]["members"]:
            raise AttributeError(f"tensorrt 11.4: {self._kind} has no {name!r}")


class Enumeration:
    """An enumeration of the snapshot; values are positions."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __getattr__(self, name: str) -> int:
        if name not in SNAPSHOT[self._kind]["enum"]:
            raise AttributeError(f"tensorrt 11.4: {self._kind} has no {name!r}")
        return int(SNAPSHOT[self._kind]["enum"].index(name))


class FakeLogger:
    """`ILogger` with the severities of the real one."""

    class Severity:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)
