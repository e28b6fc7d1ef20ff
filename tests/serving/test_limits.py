from __future__ import annotations

from pathlib import Path

import pytest

from redshank.errors import IntegrityError
from serving.identity import EventIds, RequestIds, client_hash, load_salt, unit_interval
from serving.limits import DomainLabels, checked_deadline_s, checked_domain, checked_label
from serving.refusal import Refusal, refusal_for_status


def test_domains() -> None:
    assert checked_domain(None) == checked_domain("") == "default"
    for good in ("a", "gate-1", "north/field_2", "x" * 64, "cam@site:7"):
        assert checked_domain(good) == good
    with pytest.raises(Refusal, match="does not fit"):
        checked_domain("a b")


def test_labels_and_request_ids() -> None:
    assert checked_label("X", "") == ""
    assert checked_label("X", "scene 7") == "scene 7"
    with pytest.raises(Refusal):
        checked_label("X", "x" * 129)
    ids = RequestIds()
    assert ids.of("abc-1") == "abc-1"
    made = [ids.of(text) for text in ("a b", "x" * 129, "", "")]
    assert [len(text) for text in made] == [24] * 4
    assert len({*made, RequestIds().of("")}) == 5


def test_deadlines_are_whole_milliseconds() -> None:
    assert checked_deadline_s(None) is None
    assert checked_deadline_s("250") == 0.25
    for bad in ("0", "-1", "1.5", "soon", "\u0663", "9" * 10):
        with pytest.raises(Refusal, match="does not fit"):
            checked_deadline_s(bad)


def test_metric_domains_are_bounded() -> None:
    labels = DomainLabels(2)
    assert [labels.label(d) for d in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


def test_one_salt_a_home(tmp_path: Path) -> None:
    salt = load_salt(tmp_path)
    assert load_salt(tmp_path) == salt
    assert len(salt) == 32
    assert load_salt(tmp_path / "other") != salt
    assert client_hash(salt, "a") == client_hash(salt, "a") != client_hash(salt, "b")
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["client.salt"]
    assert (tmp_path / "client.salt").stat().st_mode & 0o777 == 0o600


def test_a_torn_salt_is_no_salt(tmp_path: Path) -> None:
    (tmp_path / "client.salt").touch()
    with pytest.raises(IntegrityError, match="0 bytes, expected 32"):
        load_salt(tmp_path)


def test_event_ids_sort_by_time() -> None:
    ids = EventIds()
    made = [ids.new(1_700_000_000 + n / 1000) for n in range(300)]
    assert made == sorted(made)
    assert len(set(made)) == 300


def test_unit_interval_is_even() -> None:
    values = sorted(unit_interval(str(n)) for n in range(2000))
    gap = max(abs(v - (n + 0.5) / 2000) for n, v in enumerate(values))
    assert gap < 1.95 / 2000**0.5  # Kolmogorov, 1 in 1000


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "bad_request"), (404, "not_found"), (422, "bad_request"), (500, "internal"),
     (502, "internal"), (504, "deadline_exceeded"), (403, "unauthorized")],
)  # fmt: skip
def test_foreign_statuses_have_a_code(status: int, code: str) -> None:
    assert refusal_for_status(status).code == code
