"""Raw prediction events as one Parquet file, for questions that nobody foresaw.

An event of the half-open time [since, until) is in the file once. So exports of times that follow
each other hold each event once, as long as `until` lies behind what the servers still have in
memory (twice `serving.flush_s` is enough). Spool files are read, never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from pathlib import Path

from redshank.errors import InputError, MissingPartError
from redshank.events import Event, iter_spool
from redshank.files import sync_folder

ROWS = 50_000
"""Events of a row group: what is in memory at once."""


def export_events(
    spool: Path, out: Path, *, since_s: float, until_s: float, domain: str | None = None
) -> int:
    """Write the events of a time; the file appears complete or not at all. Returns how many.

    Args:
        spool: folder of the servers' spool files.
        out: the Parquet file; replaced when it exists. Columns are the fields of `Event`.
        since_s: first `received_at`, seconds since the epoch.
        until_s: first one that is left out.
        domain: only events with this label.

    Raises:
        InputError: there is no spool, or `out` cannot be written.
        MissingPartError: pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPartError(
            "Parquet files need pyarrow", hint='Install it with `pip install "redshank[parquet]"`.'
        ) from error
    if not spool.is_dir():
        raise InputError(f"{spool} does not exist", hint="No server has written events here yet.")
    types = {"float": arrow.float64(), "int": arrow.int64(), "bool": arrow.bool_()}
    schema = arrow.schema([(f.name, types.get(str(f.type), arrow.string())) for f in fields(Event)])
    part = out.with_name(f".{out.name}.part")
    count = 0
    try:
        with parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            wanted = _wanted(spool, since_s, until_s, domain)
            while rows := list(islice(wanted, ROWS)):
                count += len(rows)
                writer.write_table(arrow.Table.from_pylist([vars(e) for e in rows], schema=schema))
        part.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    sync_folder(out.parent)
    return count


def _wanted(spool: Path, since_s: float, until_s: float, domain: str | None) -> Iterator[Event]:
    for event in iter_spool(spool):
        if since_s <= event.received_at < until_s and domain in (None, event.domain):
            yield event
