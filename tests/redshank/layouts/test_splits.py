from collections import Counter

import pytest

from redshank.dataset import Item
from redshank.errors import InputError
from redshank.layouts.splits import keep_labels, make_unlabelled, make_unseen, set_aside

LABELLED = tuple(
    Item(f"{domain}/{label}/{number}.png", domain, label)
    for domain in ("a", "b")
    for label in ("cat", "dog")
    for number in range(20)
)
ITEMS = (*LABELLED, Item("site/1.png", "site"))


def test_set_aside_takes_its_share_of_every_class() -> None:
    items = set_aside(ITEMS, val_share=0.2, test_share=0.1, seed=0)
    counts = Counter((item.domain, item.label, item.split) for item in items)
    for domain in ("a", "b"):
        for label in ("cat", "dog"):
            assert counts[domain, label, "val"] == 4
            assert counts[domain, label, "test"] == 2
            assert counts[domain, label, "train"] == 14
    assert counts["site", "", "train"] == 1
    assert [item.path for item in items] == [item.path for item in ITEMS]


def test_choices_depend_on_the_seed_and_not_on_other_domains() -> None:
    def val_paths(items: tuple[Item, ...], seed: int) -> set[str]:
        chosen = set_aside(items, val_share=0.2, test_share=0, seed=seed)
        return {item.path for item in chosen if item.split == "val" and item.domain == "a"}

    assert val_paths(ITEMS, 0) == val_paths(ITEMS[:40], 0)
    assert val_paths(ITEMS, 0) != val_paths(ITEMS, 1)


def test_keep_labels_hides_the_rest_but_reports_still_know() -> None:
    items = keep_labels(ITEMS, per_class=3, seed=0)
    labelled = Counter((item.domain, item.label) for item in items if item.label)
    assert set(labelled.values()) == {3}
    hidden = [item for item in items if item.domain == "a" and not item.label]
    assert len(hidden) == 34
    assert all(item.hidden_label == item.path.split("/")[1] for item in hidden)


def test_keep_labels_leaves_validation_alone() -> None:
    items = set_aside(ITEMS, val_share=0.5, test_share=0, seed=0)
    items = keep_labels(items, per_class=1, seed=0)
    assert all(item.label for item in items if item.split == "val")


def test_whole_domains_become_unseen_or_unlabelled() -> None:
    unseen = make_unseen(ITEMS, ["b"])
    assert {item.split for item in unseen if item.domain == "b"} == {"test"}
    assert {item.split for item in unseen if item.domain == "a"} == {"train"}
    hidden = make_unlabelled(ITEMS, ["b"])
    assert {item.label for item in hidden if item.domain == "b"} == {""}
    assert {item.label for item in hidden if item.domain == "a"} == {"cat", "dog"}


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(InputError, match="leave no training image"):
        set_aside(ITEMS, val_share=0.6, test_share=0.4, seed=0)
    with pytest.raises(InputError, match="labels per class is 0"):
        keep_labels(ITEMS, per_class=0, seed=0)
    with pytest.raises(InputError, match="domain 'c' is not in the data"):
        make_unseen(ITEMS, ["c"])
