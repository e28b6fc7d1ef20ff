"""What the pages read, and where decisions are written."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.board import Board
from redshank.fieldstore import FieldStore
from redshank.files import Clock
from redshank.registry import Registry
from redshank.settings import Settings
from redshank.store.control import ControlStore, open_control
from redshank.store.monitor import MonitorStore

from .access import Access, load_access


@dataclass(frozen=True)
class Sources:
    """Everything behind the pages; all of it is safe to read from threads."""

    board: Board
    monitor: MonitorStore
    control: ControlStore
    registry: Registry
    field: FieldStore
    access: Access
    settings: Settings
    clock: Clock


def sources_of(settings: Settings, board: Board, monitor: MonitorStore) -> Sources:
    """Open what the settings name.

    Raises:
        ConfigError: the tokens file is broken.
    """
    home = settings.home
    return Sources(
        board=board,
        monitor=monitor,
        control=open_control(home.control_database, clock=board.clock),
        registry=Registry(home.path("models"), home.path("bundles")),
        field=FieldStore(home.path("field")),
        access=load_access(settings.monitoring.tokens_file, board.clock),
        settings=settings,
        clock=board.clock,
    )
