"""Looks at what readers see, many times a second: the release pointer, new runs, new bundles."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from redshank.bundle import read_bundle
from redshank.errors import RedshankError
from redshank.files import sha256_file
from redshank.registry import Registry
from redshank.run import read_run

EVERY_S = 0.02


class Watcher:
    """A thread that samples while the ring is under fire.

    Args:
        home: the ring's home.
        model: name of the release.
    """

    def __init__(self, home: Path, model: str) -> None:
        self._registry, self._model = Registry(home / "models", home / "bundles"), model
        self._runs = home / "runs"
        self._seen: set[Path] = set()
        self._pointer = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.samples = 0
        self.verified = 0
        """Runs and bundles whose digests were checked as they appeared or went live."""
        self.problems: list[str] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look once more and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """One sample."""
        self.samples += 1
        try:
            self._check_release()
            for folder in (*visible(self._runs), *visible(self._registry.bundles)):
                if folder not in self._seen:
                    self._seen.add(folder)
                    verify_folder(folder)
                    self.verified += 1
        except (RedshankError, OSError) as error:
            self.problems.append(f"{time.time():.3f} {error}")

    def _check_release(self) -> None:
        release = self._registry.read(self._model)
        digest = sha256_file(self._registry.release_path(self._model))
        if digest != self._pointer:
            self._pointer = digest
            read_bundle(self._registry.bundle_path(release.live))
            self.verified += 1

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.look()
        self.look()


def visible(parent: Path) -> list[Path]:
    """Published folders; scratch folders begin with a dot."""
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def verify_folder(folder: Path) -> None:
    """Check every digest of a run or bundle.

    Raises:
        RedshankError: it is not whole.
    """
    if (folder / "run.json").is_file():
        read_run(folder)
    else:
        read_bundle(folder)
