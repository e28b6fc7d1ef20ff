"""Finds the predictions of given images in the spools, by digest of their original bytes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from redshank.errors import SchemaError
from redshank.events import OK, Event, spool_files
from redshank.records import from_dict

_MARK = '"image_sha256":"'
"""As every encoder of events writes it: the text is searched before it is parsed."""


def find_events(spool: Path, digests: Collection[str]) -> list[Event]:
    """Answers to these images in order of time, of every version and role.

    Each spool file is read once, without parsing the events of other images. A file that cannot be
    read is passed over: whoever drains it names it.
    """
    if not digests or not spool.is_dir():
        return []
    found = [event for path in spool_files(spool) for event in _matching(path, digests)]
    return sorted(found, key=lambda event: (event.received_at, event.event_id))


def _matching(path: Path, digests: Collection[str]) -> Iterator[Event]:
    query = (
        f"SELECT event FROM events WHERE substr(event, instr(event, '{_MARK}') + {len(_MARK)}, 64) "
        "IN (SELECT value FROM json_each(?))"
    )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(query, (json.dumps(sorted(digests)),)).fetchall()
    except sqlite3.Error:  # half-created, damaged, or it has just expired
        return
    for (text,) in rows:
        try:
            event = from_dict(Event, json.loads(text), source=str(path), ignore_unknown=True)
        except (ValueError, SchemaError):  # a damaged row, as above
            continue
        if event.outcome == OK and event.class_index >= 0:
            yield event
