"""Labels that arrived after the prediction: one row an image, by digest of the original bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from redshank.files import rfc3339
from redshank.store.control_schema import LABELS

_CHUNK = 500  # SQLite allows 999 bound values a statement in old builds


@dataclass(frozen=True)
class LabelCounts:
    """What one import did."""

    new: int
    changed: int
    same: int


def import_labels(
    connection: Connection, rows: Iterable[tuple[str, str]], *, actor: str, at_s: float
) -> LabelCounts:
    """Insert or correct labels; the last row of an image wins.

    Args:
        connection: inside a write transaction.
        rows: (image sha256, class name).
        actor: who gave them.
        at_s: time of the import.
    """
    wanted = dict(rows)
    known = labels_of(connection, wanted)
    stamp = {"imported_at": rfc3339(at_s), "actor": actor}
    new = [digest for digest in wanted if digest not in known]
    changed = [digest for digest, label in known.items() if wanted[digest] != label]
    if new:
        connection.execute(
            insert(LABELS),
            [{"image_sha256": digest, "label": wanted[digest], **stamp} for digest in new],
        )
    for digest in changed:
        connection.execute(
            update(LABELS)
            .where(LABELS.c.image_sha256 == digest)
            .values(label=wanted[digest], **stamp)
        )
    return LabelCounts(len(new), len(changed), len(wanted) - len(new) - len(changed))


def labels_of(connection: Connection, digests: Iterable[str]) -> dict[str, str]:
    """Labels of those images that have one."""
    wanted, found = list(digests), {}
    for start in range(0, len(wanted), _CHUNK):
        chosen = LABELS.c.image_sha256.in_(wanted[start : start + _CHUNK])
        rows = connection.execute(select(LABELS.c.image_sha256, LABELS.c.label).where(chosen))
        found.update({row.image_sha256: row.label for row in rows})
    return found
