"""Which versions of a model are in use, by its release."""

from __future__ import annotations

from redshank.errors import InputError
from redshank.registry import Registry, Release


class Releases:
    """Reads releases; of one that cannot be read, what it said last counts on."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[str, Release] = {}
        self._unread: dict[str, str] = {}

    def answering(self, model: str) -> frozenset[str] | None:
        """Bundles that answer traffic; None when nothing is known of the model."""
        release = self._read(model)
        if release is None:
            return None
        canary = {release.canary.bundle} if release.canary else set()
        return frozenset({release.live} | canary)

    def named(self, model: str) -> frozenset[str] | None:
        """Bundles that the release names in any role; None when nothing is known of the model."""
        release = self._read(model)
        if release is None:
            return None
        canary = release.canary.bundle if release.canary else None
        names = (release.live, release.previous, release.shadow, canary)
        return frozenset(name for name in names if name is not None)

    def problems(self) -> tuple[str, ...]:
        """Releases that could not be read when they were asked for last, and why."""
        return tuple(self._unread.values())

    def _read(self, model: str) -> Release | None:
        try:
            is_released = self._registry.release_path(model).is_file()
            if is_released:
                self._known[model] = self._registry.read(model)
        except (InputError, OSError) as error:  # damaged, or out of reach for the moment
            why = error.message if isinstance(error, InputError) else str(error)
            counts = "what it said last counts" if model in self._known else "every version counts"
            self._unread[model] = f"the release of {model} cannot be read, {counts}: {why}"
            return self._known.get(model)
        self._unread.pop(model, None)
        return self._known.get(model) if is_released else None
