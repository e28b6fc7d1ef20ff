from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitoring.console.access import (
    MOST_SESSIONS,
    SESSION_S,
    Access,
    Holder,
    is_form_key,
    load_access,
)
from redshank.errors import ConfigError

TOKEN = "a-token-of-enough-length"
ANN = Holder("ann", ("decide",))


def access_of(path: Path, values: object, now_s: float = 0.0) -> Access:
    path.write_text(json.dumps(values))
    return load_access(str(path), lambda: now_s)


def test_a_token_names_its_holder_and_others_nobody(tmp_path: Path) -> None:
    access = access_of(tmp_path / "t.json", {TOKEN: {"name": "ann", "roles": ["decide"]}})
    assert access.holder(f" {TOKEN}\n") == ANN
    assert access.holder(TOKEN[:-1]) is None
    assert access.holder("") is None
    assert TOKEN not in repr(vars(access))


def test_who_decides_may_look_and_not_the_other_way_round() -> None:
    assert ANN.may("look")
    assert ANN.may("decide")
    assert not ANN.may("alerts")
    assert not Holder("lou", ("look",)).may("decide")


def test_who_decides_may_label_and_who_labels_may_look() -> None:
    lea = Holder("lea", ("label",))
    assert [lea.may(role) for role in ("look", "label", "decide")] == [True, True, False]
    assert ANN.may("label")
    assert not Holder("lou", ("look",)).may("label")


def test_without_a_file_nobody_can_sign_in() -> None:
    access = load_access("", lambda: 0.0)
    assert not access.is_open
    assert access.holder("") is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "no JSON object"),
        ({"short": {"name": "ann", "roles": []}}, "5 characters, at least 16"),
        ({TOKEN: {"name": "ann", "roles": ["admin"]}}, "'admin' of 'ann' is none of look"),
        ({TOKEN: {"name": "ann"}}, "roles"),
    ],
)
def test_a_broken_file_is_explained_without_its_tokens(
    tmp_path: Path, values: object, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        access_of(tmp_path / "t.json", values)
    assert TOKEN not in str(caught.value)


def test_a_missing_file_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_access(str(tmp_path / "none.json"), lambda: 0.0)


def test_a_session_ends_by_time_and_by_word() -> None:
    now = [0.0]
    access = Access({}, lambda: now[0])
    first, second = access.begin(ANN), access.begin(ANN)
    session = access.session(first)
    assert session is not None
    assert session.holder == ANN
    assert is_form_key(session, session.form_key)
    assert not is_form_key(session, "")
    other = access.session(second)
    assert other is not None
    assert not is_form_key(session, other.form_key)
    access.end(first)
    assert access.session(first) is None
    now[0] = SESSION_S
    assert access.session(second) is None
    assert access.session("no such cookie") is None


def test_sessions_are_bounded() -> None:
    access = Access({}, lambda: 0.0)
    cookies = [access.begin(ANN) for _ in range(MOST_SESSIONS + 1)]
    assert access.session(cookies[0]) is None
    assert access.session(cookies[1]) is not None
