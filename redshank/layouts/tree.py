"""The tree: which folders and files lie below a root, on this machine or behind a URI.

It is listed once; the readers of layouts only look at names, so each of them reads local folders
and buckets alike. Hidden names and `__MACOSX` are passed over. What looks like a file and cannot
be read (a dangling link, a pipe) is a fault with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from redshank.errors import InputError
from redshank.image_bytes import Location, join_location, read_bytes


@dataclass(frozen=True)
class Fault:
    """A name in the tree that gives no image, and why."""

    path: str
    reason: str


@dataclass
class Folder:
    """What lies straight in one folder, sorted by name."""

    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    """All folders below `root` by their path relative to it; the root itself is the empty path."""

    root: Location
    """Absolute."""
    by_path: dict[str, Folder]
    faults: tuple[Fault, ...] = ()

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders in a folder; none when it is not there."""
        return self.by_path[path].folders if path in self.by_path else []

    def files(self, path: str = "") -> list[str]:
        """Names of the files in a folder; none when it is not there."""
        return self.by_path[path].files if path in self.by_path else []

    def below(self, path: str) -> Iterator[str]:
        """Paths of all files in a folder and below it, in sorted order."""
        for name in self.files(path):
            yield child(path, name)
        for name in self.folders(path):
            yield from self.below(child(path, name))

    def within(self, path: str) -> Tree:
        """The tree of one folder."""
        if not path:
            return self
        start = path + "/"
        inner = {
            name[len(start) :]: folder
            for name, folder in self.by_path.items()
            if name.startswith(start)
        }
        faults = tuple(
            Fault(fault.path[len(start) :], fault.reason)
            for fault in self.faults
            if fault.path.startswith(start)
        )
        inner[""] = self.by_path[path]
        return Tree(join_location(self.root, path), inner, faults)

    def read_text(self, path: str) -> str:
        """A small text file of the data set (splits, metadata).

        Raises:
            InputError: it is not UTF-8.
        """
        place = join_location(self.root, path)
        try:
            return read_bytes(place).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{place} is no text file (UTF-8)") from error


def child(folder: str, name: str) -> str:
    """Path of something in a folder; the root is the empty path."""
    return f"{folder}/{name}" if folder else name


def list_tree(root: Location) -> Tree:
    """List everything below a root; links are followed, but not in circles.

    Raises:
        InputError: it is no folder, or one of its folders may not be listed.
        MissingPartError, StageError: see `redshank.image_bytes.read_bytes`.
    """
    if isinstance(root, str):
        return _list_remote(root)
    if not root.is_dir():
        raise InputError(f"{root} is no folder")
    root = root.resolve()
    by_path: dict[str, Folder] = {}
    faults: list[Fault] = []
    _list_folder(root, "", (), by_path, faults)
    return Tree(root, by_path, tuple(faults))


def _list_folder(
    folder: Path,
    path: str,
    parents: tuple[tuple[int, int], ...],
    by_path: dict[str, Folder],
    faults: list[Fault],
) -> None:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(
            f"folder {folder} cannot be listed: {reason}",
            hint="Give yourself access to it, or move it out of the data set.",
        ) from error
    here = (status.st_dev, status.st_ino)
    if here in parents:
        faults.append(Fault(path, "a link to a folder that it lies in"))
        return
    found = by_path[path] = Folder()
    for entry in entries:
        name = entry.name
        if _is_hidden(name):
            continue
        if entry.is_dir():
            found.folders.append(name)
            _list_folder(folder / name, child(path, name), (*parents, here), by_path, faults)
        elif entry.is_file():
            found.files.append(name)
        elif entry.is_symlink() and not (folder / name).exists():
            faults.append(Fault(child(path, name), "a link to nothing"))
        else:
            faults.append(Fault(child(path, name), "neither a file nor a folder"))


def _list_remote(root: str) -> Tree:
    from redshank.remote import list_remote

    by_path = {"": Folder()}
    for path in list_remote(root):
        *parts, name = path.split("/")
        if not name or any(_is_hidden(part) for part in (*parts, name)):
            continue
        here = ""
        for part in parts:
            inner = child(here, part)
            if inner not in by_path:
                by_path[inner] = Folder()
                by_path[here].folders.append(part)
            here = inner
        by_path[here].files.append(name)
    if len(by_path) == 1 and not by_path[""].files:
        raise InputError(
            f"{root} holds nothing",
            hint="Is the name spelled right? Tables and manifests must lie on this machine.",
        )
    for folder in by_path.values():
        folder.folders.sort()
        folder.files.sort()
    return Tree(root, by_path)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
