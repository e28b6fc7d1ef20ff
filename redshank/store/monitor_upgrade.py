"""A monitor database of the last schema becomes one of this schema, in place."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from . import engine as db
from .monitor_schema import DEFECTS, META, SCHEMA, WINDOWS


def upgrade(engine: sa.Engine) -> str:
    """From schema 1, which did not count defective images; returns the schema it has now."""
    with db.write(engine) as connection:
        present = {column["name"] for column in sa.inspect(connection).get_columns(WINDOWS.name)}
        for name in DEFECTS:
            if name not in present:
                column = CreateColumn(WINDOWS.c[name]).compile(dialect=engine.dialect)
                connection.execute(sa.text(f"ALTER TABLE {WINDOWS.name} ADD COLUMN {column}"))
        connection.execute(sa.update(META).where(META.c.name == "schema").values(value=str(SCHEMA)))
    return str(SCHEMA)
