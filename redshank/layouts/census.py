"""What a manifest holds: counts by domain and class, broken files, and images in two splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from redshank.dataset import Item, Manifest
from redshank.errors import InputError
from redshank.files import sha256_bytes

DECODING_THREADS = 4
FETCHING_THREADS = 32
"""Where images come by URI: they wait for the network."""
WAITING = 256
"""Images under way at a time."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class DomainCounts:
    """Images of one domain; tuples are in the order of the manifest's classes."""

    domain: str
    role: str
    """source | target | unseen."""
    labelled: tuple[int, ...]
    """Labelled training images a class."""
    unlabelled: tuple[int, ...]
    """Unlabelled training images a class, where reports know it."""
    unlabelled_unknown: int
    """Unlabelled training images whose class nobody knows."""
    val: int
    test: int


@dataclass(frozen=True)
class BrokenImage:
    """A file that cannot be used, and why."""

    path: str
    domain: str
    reason: str


@dataclass(frozen=True)
class Leak:
    """Equal bytes in two splits: what is measured was trained on."""

    path: str
    split: str
    other_path: str
    other_split: str


def count_domains(manifest: Manifest) -> tuple[DomainCounts, ...]:
    """Count the images of each domain, sorted by name."""
    by_domain: dict[str, list[Item]] = defaultdict(list)
    for item in manifest.items:
        by_domain[item.domain].append(item)
    roles = dict.fromkeys(by_domain, "unseen")  # asked once: each look goes through all images
    roles |= dict.fromkeys(manifest.source_domains, "source")
    roles |= dict.fromkeys(manifest.target_domains, "target")
    classes = manifest.classes
    return tuple(
        _count(classes, domain, roles[domain], by_domain[domain]) for domain in sorted(by_domain)
    )


def inspect_images(
    manifest: Manifest,
    decode: Callable[[bytes], Any],
    *,
    progress: Callable[[int], None] = lambda _done: None,
) -> tuple[list[BrokenImage], list[Leak]]:
    """Read and decode every image, some at a time; nothing is changed.

    Args:
        manifest: what to look at.
        decode: bytes to pixels, raising `InputError` where it refuses.
        progress: called with the number of images done.

    Raises:
        MissingPartError, StageError: the storage of the images cannot be reached at all.
    """
    broken, leaks = [], []
    first: dict[bytes, Item] = {}
    remote = any(isinstance(manifest.image_location(item), str) for item in manifest.items)
    with ThreadPoolExecutor(FETCHING_THREADS if remote else DECODING_THREADS) as pool:
        answers = in_order(pool, lambda item: _look(manifest, item, decode), manifest.items)
        for number, (item, answer) in enumerate(zip(manifest.items, answers, strict=True), start=1):
            progress(number)
            if isinstance(answer, str):
                broken.append(BrokenImage(item.path, item.domain, answer))
                continue
            other = first.setdefault(answer, item)
            if other.split != item.split:
                leaks.append(Leak(item.path, item.split, other.path, other.split))
    return broken, leaks


def in_order(
    pool: ThreadPoolExecutor, act: Callable[[Item], Answer], items: Iterable[Item]
) -> Iterator[Answer]:
    """What `act` gives for each item, in order, with few items under way at a time."""
    waiting: deque[Future[Answer]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(act, item))
            if len(waiting) == WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # after an error nobody wants the rest
        for future in waiting:
            future.cancel()


def _look(manifest: Manifest, item: Item, decode: Callable[[bytes], Any]) -> str | bytes:
    """Why the image cannot be used, or the digest of its bytes."""
    try:
        data = manifest.read_image(item)
        decode(data)
    except InputError as error:
        return error.message
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    if item.sha256 and sha256_bytes(data) != item.sha256:
        return "other bytes than the manifest's sha256 says: it changed after it was listed"
    return hashlib.sha256(data).digest()


def _count(classes: tuple[str, ...], domain: str, role: str, items: list[Item]) -> DomainCounts:
    labelled = dict.fromkeys(classes, 0)
    unlabelled = dict.fromkeys(classes, 0)
    unknown = 0
    for item in items:
        if item.split != "train":
            continue
        if item.label:
            labelled[item.label] += 1
        elif item.hidden_label:
            unlabelled[item.hidden_label] += 1
        else:
            unknown += 1
    return DomainCounts(
        domain=domain,
        role=role,
        labelled=tuple(labelled.values()),
        unlabelled=tuple(unlabelled.values()),
        unlabelled_unknown=unknown,
        val=sum(item.split == "val" for item in items),
        test=sum(item.split == "test" for item in items),
    )
