"""From a challenger that passed to traffic: at once, or by a canary on its domains first.

Every step can be repeated after a crash: it looks at the release pointer first, and changes it by
compare-and-swap only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redshank.bundle import read_bundle
from redshank.events import OK, changed_s, read_events, spool_files
from redshank.files import rfc3339
from redshank.http_api import ERRORS
from redshank.registry import Canary, Registry, Release

MAX_ERROR_SHARE = 0.01
"""Share of failed answers in a canary from which it is rolled back."""
SERVER_ERRORS = frozenset(code for code, (status, _) in ERRORS.items() if status >= 500)


@dataclass(frozen=True)
class CanaryCount:
    """Answers of a bundle in its canary."""

    answered: int
    failed: int
    """Failures of the server's own making."""

    @property
    def is_bad(self) -> bool:
        """Whether too many failed."""
        return self.failed > MAX_ERROR_SHARE * (self.answered + self.failed)


def publish_challenger(
    registry: Registry, release: Release, bundle_id: str, *, actor: str, reason: str, at_s: float
) -> Release:
    """Make the challenger live, if the release is still the one that was looked at.

    Raises:
        ConflictError: somebody released meanwhile.
        IntegrityError: the bundle's files changed.
    """
    if release.live == bundle_id and release.canary is None:
        return release
    read_bundle(registry.bundle_path(bundle_id))
    return registry.swap(
        release.revision,
        dataclasses.replace(
            release,
            live=bundle_id,
            previous=release.live,
            shadow=None,
            canary=None,
            updated_at=rfc3339(at_s),
            actor=actor,
            reason=reason,
        ),
    )


def start_canary(
    registry: Registry,
    release: Release,
    bundle_id: str,
    domains: tuple[str, ...],
    *,
    actor: str,
    at_s: float,
) -> Release:
    """Let the challenger answer its domains (empty: all); errors as in `publish_challenger`."""
    if release.canary is not None and release.canary.bundle == bundle_id:
        return release
    read_bundle(registry.bundle_path(bundle_id))
    return registry.swap(
        release.revision,
        dataclasses.replace(
            release,
            canary=Canary(bundle_id, domains, 1.0),
            updated_at=rfc3339(at_s),
            actor=actor,
            reason=f"canary of {bundle_id}",
        ),
    )


def end_canary(registry: Registry, model: str, bundle_id: str, *, actor: str, at_s: float) -> bool:
    """Take the canary off the release if it is this bundle's; True if it was."""
    release = registry.read(model)
    if release.canary is None or release.canary.bundle != bundle_id:
        return False
    registry.swap(
        release.revision,
        dataclasses.replace(
            release,
            canary=None,
            updated_at=rfc3339(at_s),
            actor=actor,
            reason=f"canary of {bundle_id} ended",
        ),
    )
    return True


def count_canary(spool: Path, bundle_id: str, *, since_s: float) -> CanaryCount:
    """Answers and failures of a bundle in its canary, from the event spools."""
    answered = failed = 0
    for path in spool_files(spool):
        if changed_s(path) < since_s:
            continue
        seq = 0
        while rows := read_events(path, after_seq=seq):
            seq = rows[-1].seq
            for event in (row.event for row in rows):
                if event.version == bundle_id and event.role == "canary":
                    answered += event.outcome == OK
                    failed += event.outcome in SERVER_ERRORS
    return CanaryCount(answered, failed)


def live_since(registry: Registry, model: str) -> str:
    """When the live bundle became live, RFC 3339."""
    release = registry.read(model)
    since = release.updated_at
    for past in reversed(registry.history(model)):
        if past.live != release.live:
            break
        since = past.updated_at
    return since


def rolled_back(history: Sequence[Release]) -> frozenset[str]:
    """Bundles that a later revision took off by a rollback to the one before them."""
    return frozenset(
        older.live
        for older, newer in itertools.pairwise(history)
        if newer.live != older.live and (newer.live, newer.previous) == (older.previous, older.live)
    )
