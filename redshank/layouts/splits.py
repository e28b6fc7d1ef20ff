"""Who is validation, who is test, and which training images keep their label.

All choices are made per domain and class, by a seeded order of the paths: adding a domain never
moves the images of another one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from redshank.dataset import Item
from redshank.errors import InputError


def set_aside(
    items: Sequence[Item], *, val_share: float, test_share: float, seed: int
) -> tuple[Item, ...]:
    """Move a share of each domain's labelled training images into `val` and `test`.

    Items that already have one of these splits stay where they are.

    Args:
        items: all images.
        val_share: share of a class that becomes validation, in [0, 1).
        test_share: share that becomes test, in [0, 1).
        seed: order of choice.

    Raises:
        InputError: a share is outside [0, 1), or both together reach 1.
    """
    if min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise InputError(
            f"validation share {val_share:g} and test share {test_share:g} leave no training image",
            hint="Both are in [0, 1) and together below 1.",
        )

    def change(group: list[Item]) -> Iterable[Item]:
        n_val, n_test = round(val_share * len(group)), round(test_share * len(group))
        for place, item in enumerate(group):
            if place < n_val:
                yield dataclasses.replace(item, split="val")
            elif place < n_val + n_test:
                yield dataclasses.replace(item, split="test")
            else:
                yield item

    return _per_class(items, change, seed)


def keep_labels(items: Sequence[Item], *, per_class: int, seed: int) -> tuple[Item, ...]:
    """Keep the labels of `per_class` training images a class and domain; hide all others.

    A hidden label moves to `hidden_label`, which reports may read and training never does.

    Raises:
        InputError: `per_class` is below 1.
    """
    if per_class < 1:
        raise InputError(f"labels per class is {per_class}, expected at least 1")

    def change(group: list[Item]) -> Iterable[Item]:
        yield from group[:per_class]
        yield from (hide_label(item) for item in group[per_class:])

    return _per_class(items, change, seed)


def make_unseen(items: Sequence[Item], domains: Iterable[str]) -> tuple[Item, ...]:
    """Put whole domains into `test`: measured, never trained on.

    Raises:
        InputError: a domain is not there.
    """
    wanted = _known(items, domains)
    return tuple(
        dataclasses.replace(item, split="test") if item.domain in wanted else item for item in items
    )


def make_unlabelled(items: Sequence[Item], domains: Iterable[str]) -> tuple[Item, ...]:
    """Hide every training label of whole domains, which become targets.

    Raises:
        InputError: a domain is not there.
    """
    wanted = _known(items, domains)
    return tuple(
        hide_label(item) if item.domain in wanted and item.split == "train" else item
        for item in items
    )


def hide_label(item: Item) -> Item:
    """The item without its label; reports still find it in `hidden_label`."""
    return dataclasses.replace(item, label="", hidden_label=item.label or item.hidden_label)


def _known(items: Sequence[Item], domains: Iterable[str]) -> set[str]:
    wanted, there = set(domains), {item.domain for item in items}
    for domain in sorted(wanted - there):
        raise InputError(
            f"domain {domain!r} is not in the data", hint=f"It has: {', '.join(sorted(there))}."
        )
    return wanted


def _per_class(
    items: Sequence[Item], change: Callable[[list[Item]], Iterable[Item]], seed: int
) -> tuple[Item, ...]:
    """Apply `change` to the labelled training images of each domain and class, shuffled."""
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        if item.split == "train" and item.label:
            groups[item.domain, item.label].append(item)
    changed = {
        item.path: item
        for group in groups.values()
        for item in change(sorted(group, key=lambda one: _order(one, seed)))
    }
    return tuple(changed.get(item.path, item) for item in items)


def _order(item: Item, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{item.path}".encode()).hexdigest()
