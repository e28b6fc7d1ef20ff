from __future__ import annotations

from redshank.store.control import ControlStore

A, B, C = "a" * 64, "b" * 64, "c" * 64


def give(store: ControlStore, *rows: tuple[str, str], is_sample: bool = True) -> None:
    store.import_labels(rows, actor="ann", subject="s", source="x.csv", is_sample=is_sample)


def test_every_label_is_kept_under_the_audit_row_that_brought_it(store: ControlStore) -> None:
    store.record(actor="eve", action="accepted as normal", subject="pier", details={})
    give(store, (A, "gull"), (B, "tern"))
    give(store, (A, "tern"), (B, "tern"))
    give(store, (B, "tern"))  # nothing new: an audit row, and nothing to read on
    first, second = store.labels_given()
    assert (first.seq, first.at_s, first.actor, first.is_sample) == (2, 1_000_000.0, "ann", True)
    assert (first.labels, second.labels) == ({A: "gull", B: "tern"}, {A: "tern"})
    assert store.labels_given(2) == (second,)
    assert store.labels([A, B, C]) == {A: "tern", B: "tern"}
    assert [row.details["same"] for row in store.audit(after_seq=1)] == [0, 1, 1]
    assert store.verify_audit() == 4


def test_a_picked_image_that_is_drawn_later_is_told_again(store: ControlStore) -> None:
    give(store, (A, "gull"), is_sample=False)
    give(store, (A, "gull"))
    give(store, (A, "gull"))
    give(store, (A, "gull"), is_sample=False)
    assert [(g.seq, g.is_sample) for g in store.labels_given()] == [(1, False), (2, True)]
