"""What a person decides about a domain on its page."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from monitoring.console.messages import Answer, Request
from monitoring.console.site import Console
from redshank.healing import AuditRow
from tests.monitoring.console.scene import LOOKER, TOKEN, make_sources

FOG = "/domains/default/fog%3Cscript%3E"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Console:
    return Console(make_sources(tmp_path_factory.mktemp("site")))


def ask(console: Console, method: str, target: str, form: str = "", token: str = TOKEN) -> Answer:
    headers = {"host": "here:1", "authorization": f"Bearer {token}"}
    return console.answer(Request(method, target, headers, form.encode()))


def decide(console: Console, target: str, form: str) -> tuple[AuditRow, str]:
    """The one audit row that a decision writes, and the page that is shown next."""
    before = console.sources.control.audit()
    answer = ask(console, "POST", target, form)
    assert answer.status == HTTPStatus.SEE_OTHER
    (row,) = console.sources.control.audit()[len(before) :]
    shown = ask(console, "GET", dict(answer.headers)["Location"])
    assert shown.status == HTTPStatus.OK
    return row, shown.body.decode()


def test_a_change_is_accepted_as_normal(console: Console) -> None:
    row, page = decide(console, f"{FOG}/accept", "reason=new+lamp")
    assert (row.action, row.actor, row.subject) == ("accepted as normal", "ann", "fog<script>")
    assert row.details["version"] == "b1"
    assert row.details["reason"] == "new lamp"
    assert "learns this domain anew when the tick is over" in page


def test_a_domain_is_retired(console: Console) -> None:
    assert "Reason to retire fog&lt;script&gt;" in ask(console, "GET", FOG).body.decode()
    row, page = decide(console, f"{FOG}/retire", "reason=pole+is+gone")
    assert (row.action, row.actor, row.subject) == ("retired", "ann", "fog<script>")
    assert row.details == {"model": "default", "domain": "fog<script>", "reason": "pole is gone"}
    assert "forgets this domain when the tick is over" in page


def test_who_only_looks_decides_nothing(console: Console) -> None:
    before = console.sources.control.audit()
    assert "Reason to" not in ask(console, "GET", FOG, token=LOOKER).body.decode()
    for word in ("accept", "retire"):
        answer = ask(console, "POST", f"{FOG}/{word}", token=LOOKER)
        assert answer.status == HTTPStatus.FORBIDDEN
    assert console.sources.control.audit() == before


def test_unknown_domains_and_words_are_refused(console: Console) -> None:
    for word in ("accept", "retire"):
        answer = ask(console, "POST", f"/domains/default/fogg/{word}")
        assert answer.status == HTTPStatus.NOT_FOUND
    assert ask(console, "POST", f"{FOG}/boast").status == HTTPStatus.NOT_FOUND
    page = ask(console, "GET", f"{FOG}?noted=%3Cb%3Eboast").body.decode()
    assert "boast" not in page
