"""Files below a local folder or a URI by one set of names, read and written whole."""

from __future__ import annotations

import os
from pathlib import Path

from redshank.files import write_atomic
from redshank.image_bytes import Location, join_location, read_bytes
from redshank.remote import list_remote, remove_remote, write_remote


class ObjectFolder:
    """A place for files.

    Every method raises OSError where a file cannot be had, MissingPartError where a package or
    credentials are missing, and StageError where a storage does not answer.
    """

    def __init__(self, location: Location) -> None:
        self._location = location

    def __str__(self) -> str:
        return str(self._location)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, which may be a disk that is not mounted."""
        return not isinstance(self._location, str)

    def names(self) -> set[str]:
        """Every file, relative; empty where nothing is there, never a part of what is."""
        if isinstance(self._location, str):
            return set(list_remote(self._location))
        root = self._location
        return {
            str((Path(folder) / name).relative_to(root))
            for folder, _, files in os.walk(root, onerror=_unless_gone)
            for name in files
        }

    def read(self, name: str) -> bytes:
        """The whole file."""
        return read_bytes(join_location(self._location, name))

    def write(self, name: str, data: bytes) -> None:
        """Put a file there, in place of the former one; nobody sees half of it."""
        place = join_location(self._location, name)
        if isinstance(place, str):
            write_remote(place, data)
        else:
            write_atomic(place, data)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        place = join_location(self._location, name)
        if isinstance(place, str):
            remove_remote(place)
        else:
            place.unlink(missing_ok=True)


def _unless_gone(error: OSError) -> None:
    """Half a listing looks as if the rest was removed."""
    if not isinstance(error, FileNotFoundError):
        raise error
