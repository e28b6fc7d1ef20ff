"""Labels that arrived after the prediction: the newest of each image, and every one ever given.

`labels` has one row an image, by digest of the original bytes. `label_history` keeps each label
under the number of the audit row that brought it: the evaluator reads on from there, and nothing
that somebody said is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from redshank.files import parse_rfc3339, rfc3339
from redshank.store.control_schema import LABEL_HISTORY, LABELS, audit_rows

UNCLEAR = "?"
"""The label of an image of which nobody can tell what it shows: it counts nowhere."""
_CHUNK = 500  # SQLite allows 999 bound values a statement in old builds


@dataclass(frozen=True)
class LabelCounts:
    """What one import did."""

    new: int
    changed: int
    same: int


@dataclass(frozen=True)
class LabelsGiven:
    """The labels of one audit row, those that were known before left out."""

    seq: int
    """Number of the audit row."""
    at_s: float
    actor: str
    labels: Mapping[str, str]
    """Image sha256 -> class name, or `UNCLEAR`."""
    is_sample: bool
    """Whether the images were drawn at random, so that they speak for the domain."""


def import_labels(
    connection: Connection,
    rows: Iterable[tuple[str, str]],
    *,
    actor: str,
    at_s: float,
    is_sample: bool = True,
) -> tuple[LabelCounts, dict[str, str]]:
    """Insert or correct labels; the last row of an image wins.

    Args:
        connection: inside a write transaction.
        rows: (image sha256, class name).
        actor: who gave them.
        at_s: time of the import.
        is_sample: whether the images were drawn at random.

    Returns:
        Counts, and the labels that belong into the history: new, changed, or now in a sample.
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
    same = known.keys() - set(changed)
    drawn = sorted(same - _samples_among(connection, same)) if is_sample else []
    told = {digest: wanted[digest] for digest in (*new, *changed, *drawn)}
    return LabelCounts(len(new), len(changed), len(same)), told


def add_history(
    connection: Connection, told: Mapping[str, str], *, seq: int, is_sample: bool
) -> None:
    """Keep labels under the number of their audit row."""
    if told:
        connection.execute(
            insert(LABEL_HISTORY),
            [
                {"seq": seq, "image_sha256": digest, "label": label, "is_sample": is_sample}
                for digest, label in told.items()
            ],
        )


def labels_of(connection: Connection, digests: Iterable[str]) -> dict[str, str]:
    """Labels of those images that have one."""
    wanted, found = list(digests), {}
    for start in range(0, len(wanted), _CHUNK):
        chosen = LABELS.c.image_sha256.in_(wanted[start : start + _CHUNK])
        rows = connection.execute(select(LABELS.c.image_sha256, LABELS.c.label).where(chosen))
        found.update({row.image_sha256: row.label for row in rows})
    return found


def labels_given(connection: Connection, *, after_seq: int) -> tuple[LabelsGiven, ...]:
    """What was labelled after an audit row, oldest first."""
    columns = LABEL_HISTORY.c
    query = select(LABEL_HISTORY).where(columns.seq > after_seq)
    found: dict[int, dict[str, str]] = {}
    samples: dict[int, bool] = {}
    for row in connection.execute(query.order_by(columns.seq, columns.image_sha256)):
        found.setdefault(row.seq, {})[row.image_sha256] = row.label
        samples[row.seq] = row.is_sample
    return tuple(
        LabelsGiven(row.seq, parse_rfc3339(row.at), row.actor, found[row.seq], samples[row.seq])
        for row in audit_rows(connection, found)
    )


def _samples_among(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Images whose newest label came with a sample."""
    wanted, columns = sorted(digests), LABEL_HISTORY.c
    newest: dict[str, bool] = {}
    for start in range(0, len(wanted), _CHUNK):
        chosen = columns.image_sha256.in_(wanted[start : start + _CHUNK])
        query = select(columns.image_sha256, columns.is_sample).where(chosen)
        for row in connection.execute(query.order_by(columns.seq)):
            newest[row.image_sha256] = row.is_sample
    return {digest for digest, was_sample in newest.items() if was_sample}
