"""What a manifest holds: counts by domain and class, broken files, and images in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redshank.dataset import Item, Manifest
from redshank.errors import InputError
from redshank.files import sha256_bytes


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
    """Read and decode every image; nothing is changed.

    Args:
        manifest: what to look at.
        decode: bytes to pixels, raising `InputError` where it refuses.
        progress: called with the number of images done.
    """
    broken, leaks = [], []
    first: dict[str, Item] = {}
    for number, item in enumerate(manifest.items, start=1):
        progress(number)
        try:
            data = manifest.read_image(item)
            decode(data)
        except InputError as error:
            broken.append(BrokenImage(item.path, item.domain, error.message))
            continue
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            broken.append(BrokenImage(item.path, item.domain, reason))
            continue
        other = first.setdefault(sha256_bytes(data), item)
        if other.split != item.split:
            leaks.append(Leak(item.path, item.split, other.path, other.split))
    return broken, leaks


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
