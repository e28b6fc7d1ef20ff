"""The errors a user can meet.

    RedshankError
    ├── UsageError          the command line asks for something that does not exist     (exit 2)
    ├── ConfigError         redshank.toml or an override is wrong
    ├── InputError          a file, image, label or request is not what was expected
    │   ├── SchemaError     a manifest has an unknown field, a missing one or a wrong type
    │   └── DatabaseError   a database cannot be reached, read or written
    ├── IntegrityError      a digest, parity figure or self-test disagrees
    ├── ConflictError       somebody else changed, holds or already did it
    ├── MissingPartError    a package, stage, program or device is not there
    └── StageError          a stage failed for a reason of its own (collapse, time-out)

Every error names the thing, the value and the expectation in `message`, the next step in `hint`.
The command prints both without a traceback and exits 1 unless said otherwise.
"""

from __future__ import annotations


class RedshankError(Exception):
    """Root of the tree; `str(error)` is the message followed by the indented hint."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(RedshankError):
    """The command line asks for something that does not exist."""

    exit_code = 2


class ConfigError(RedshankError):
    """The configuration has an unknown key, a wrong type or an impossible value."""


class InputError(RedshankError):
    """A file, image, label or request is not what was expected."""


class SchemaError(InputError):
    """A stored record does not fit its schema."""


class DatabaseError(InputError):
    """A database cannot be reached, read or written, maybe for a moment only."""


class IntegrityError(RedshankError):
    """Stored bytes or numbers disagree with what was promised for them."""


class ConflictError(RedshankError):
    """Another process changed the thing first, holds it, or did the work already."""


class MissingPartError(RedshankError):
    """A package, a stage, a program or a device that this verb needs is not there."""


class StageError(RedshankError):
    """A stage failed for a reason of its own."""
