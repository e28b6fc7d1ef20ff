"""The release: which bundles answer traffic, one atomic pointer file a model.

    models/<name>/release.json         the current `Release`
    models/<name>/history/<n>.json     every revision there ever was

Changes are compare-and-swap on `revision`, so two writers never undo each other. Servers poll the
pointer; a rollback is one more revision that points back.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redshank.bundle import read_bundle
from redshank.errors import ConflictError, InputError
from redshank.files import read_json, rfc3339, to_json, write_atomic
from redshank.records import as_dict, check_schema, from_dict

SCHEMA = 1
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Canary:
    """A bundle that answers a part of the traffic."""

    bundle: str
    domains: tuple[str, ...]
    """Domains it answers; empty: all of them."""
    share: float
    """Sticky share of clients in (0, 1]."""


@dataclass(frozen=True)
class Release:
    """`release.json`: bundle ids by role."""

    schema: int
    model: str
    revision: int
    live: str
    previous: str | None
    """What `rollback` goes back to."""
    shadow: str | None
    """Sees a sample of the traffic, answers nothing."""
    canary: Canary | None
    updated_at: str
    actor: str
    reason: str


class Registry:
    """Reads and moves release pointers under `models/`; bundles lie in `bundles/`."""

    def __init__(self, models: Path, bundles: Path) -> None:
        self.models = models
        self.bundles = bundles

    def release_path(self, model: str) -> Path:
        """The pointer file of a model."""
        return self.models / checked_name(model) / "release.json"

    def bundle_path(self, bundle_id: str) -> Path:
        """The folder of a bundle."""
        return self.bundles / bundle_id

    def names(self) -> tuple[str, ...]:
        """Every released model, sorted."""
        return tuple(sorted(path.parent.name for path in self.models.glob("*/release.json")))

    def read(self, model: str) -> Release:
        """The current release.

        Raises:
            InputError: the model was never released.
        """
        path = self.release_path(model)
        if not path.is_file():
            known = ", ".join(self.names()) or "none"
            raise InputError(
                f"model {model!r} has no release in {self.models} (released: {known})",
                hint="Publish a bundle: redshank models publish BUNDLE",
            )
        return _parse(path)

    def history(self, model: str) -> tuple[Release, ...]:
        """All revisions, oldest first."""
        return tuple(_parse(path) for path in _revisions(self.release_path(model).parent))

    def publish(self, bundle_id: str, *, actor: str, reason: str, at_s: float) -> Release:
        """Make a bundle live after checking every digest; the first call creates the release.

        The former live bundle becomes `previous`; shadow and canary end.

        Raises:
            InputError: no such bundle.
            IntegrityError: its files changed.
        """
        model = read_bundle(self.bundle_path(bundle_id)).model
        with self._locked(model):
            path = self.release_path(model)
            old = _parse(path) if path.is_file() else None
            if old is not None and old.live == bundle_id and old.canary is None:
                return old
            return self._write(
                Release(
                    schema=SCHEMA,
                    model=model,
                    revision=old.revision + 1 if old else 1,
                    live=bundle_id,
                    previous=old.live if old else None,
                    shadow=None,
                    canary=None,
                    updated_at=rfc3339(at_s),
                    actor=actor,
                    reason=reason,
                )
            )

    def rollback(self, model: str, *, actor: str, reason: str, at_s: float) -> Release:
        """Go back to the previous live bundle.

        Raises:
            ConflictError: there is no previous bundle.
        """
        with self._locked(model):
            old = self.read(model)
            if old.previous is None:
                raise ConflictError(
                    f"model {model!r} has no previous bundle to go back to",
                    hint="Publish another one: redshank models publish BUNDLE",
                )
            read_bundle(self.bundle_path(old.previous))
            return self._write(
                dataclasses.replace(
                    old,
                    revision=old.revision + 1,
                    live=old.previous,
                    previous=old.live,
                    shadow=None,
                    canary=None,
                    updated_at=rfc3339(at_s),
                    actor=actor,
                    reason=reason,
                )
            )

    def set_shadow(
        self, model: str, bundle_id: str | None, *, actor: str, reason: str, at_s: float
    ) -> Release:
        """Start (or with None end) the shadow."""
        return self._change(model, actor, reason, at_s, shadow=bundle_id)

    def set_canary(
        self, model: str, canary: Canary | None, *, actor: str, reason: str, at_s: float
    ) -> Release:
        """Start (or with None end) the canary."""
        if canary is not None and not 0 < canary.share <= 1:
            raise InputError(f"canary share {canary.share} is not in (0, 1]")
        return self._change(model, actor, reason, at_s, canary=canary)

    def swap(self, expected_revision: int, new: Release) -> Release:
        """Write `new` only if the current revision is still `expected_revision`.

        Raises:
            ConflictError: somebody released meanwhile.
        """
        with self._locked(new.model):
            current = self.read(new.model).revision
            if current != expected_revision:
                raise ConflictError(
                    f"model {new.model!r} is at revision {current}, expected {expected_revision}",
                    hint="Read the release again and decide anew.",
                )
            return self._write(dataclasses.replace(new, revision=current + 1))

    def _change(
        self,
        model: str,
        actor: str,
        reason: str,
        at_s: float,
        **changes: str | Canary | None,
    ) -> Release:
        for value in changes.values():
            bundle_id = value.bundle if isinstance(value, Canary) else value
            if bundle_id is not None:
                self._check_fits(model, bundle_id)
        with self._locked(model):
            old = self.read(model)
            stamped = dataclasses.replace(
                old,
                revision=old.revision + 1,
                updated_at=rfc3339(at_s),
                actor=actor,
                reason=reason,
            )
            return self._write(dataclasses.replace(stamped, **changes))  # type: ignore[arg-type]  # shadow, canary

    def _check_fits(self, model: str, bundle_id: str) -> None:
        owner = read_bundle(self.bundle_path(bundle_id)).model
        if owner != model:
            raise InputError(f"bundle {bundle_id} is of model {owner!r}, not {model!r}")

    def _write(self, release: Release) -> Release:
        data = to_json(as_dict(release))
        path = self.release_path(release.model)
        write_atomic(path.parent / "history" / f"{release.revision}.json", data)
        write_atomic(path, data)
        return release

    @contextmanager
    def _locked(self, model: str) -> Iterator[None]:
        folder = self.release_path(model).parent
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def checked_name(model: str) -> str:
    """Refuse names that are no plain folder name.

    Raises:
        InputError: letters outside a-z 0-9 . _ -, or longer than 64.
    """
    if not NAME.fullmatch(model):
        raise InputError(
            f"model name {model!r} does not fit",
            hint="Use 1 to 64 of a-z, 0-9, '.', '_', '-', starting with a letter or digit.",
        )
    return model


def _parse(path: Path) -> Release:
    try:
        values = read_json(path)
        check_schema(values, current=SCHEMA, source=str(path))
        return from_dict(Release, values, source=str(path))
    except InputError as error:
        kept = _revisions(path.parent)
        if error.hint or not kept:
            raise
        hint = f"Put the last revision back, or an older one: cp {kept[-1]} {path}"
        raise type(error)(error.message, hint=hint) from error


def _revisions(folder: Path) -> list[Path]:
    """Files of the history of a model's folder, oldest first."""
    return sorted((folder / "history").glob("*.json"), key=lambda path: int(path.stem))
