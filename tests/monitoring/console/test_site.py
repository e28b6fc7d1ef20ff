from __future__ import annotations

import json
import re
from http import HTTPStatus
from pathlib import Path

import pytest

from monitoring.console.access import Session
from monitoring.console.messages import Answer, Request
from monitoring.console.site import Console
from monitoring.console.sources import Sources
from redshank.healing import Healing
from tests.monitoring.console.scene import (
    HOOK,
    LOOKER,
    TOKEN,
    add_images,
    make_sources,
    propose,
)

FOG = "/domains/default/fog%3Cscript%3E"
OWN = {"host": "here:1", "origin": "http://here:1", "sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def sources(root: Path) -> Sources:
    made = make_sources(root)
    add_images(root, "fog<script>")
    return made


@pytest.fixture(scope="module")
def console(sources: Sources) -> Console:
    return Console(sources)


@pytest.fixture(scope="module")
def healing(sources: Sources) -> Healing:
    return propose(sources.control)


def get(console: Console, target: str, token: str = "", **headers: str) -> Answer:
    bearer = {"authorization": f"Bearer {token}"} if token else {}
    return console.answer(Request("GET", target, {**bearer, **headers}))


def html(console: Console, target: str, token: str = "", **headers: str) -> str:
    answer = get(console, target, token, **headers)
    assert answer.status == HTTPStatus.OK, answer.body.decode()
    return answer.body.decode()


def post(console: Console, target: str, form: str = "", **headers: str) -> Answer:
    return console.answer(Request("POST", target, {**OWN, **headers}, form.encode()))


def sign_in(console: Console, token: str = TOKEN) -> tuple[str, Session]:
    """A session's cookie header, and the session."""
    answer = post(console, "/login", f"token={token}")
    assert answer.status == HTTPStatus.SEE_OTHER
    cookie = dict(answer.headers)["Set-Cookie"]
    assert "HttpOnly; SameSite=Strict" in cookie
    pair = cookie.partition(";")[0]
    session = console.sources.access.session(pair.partition("=")[2])
    assert session is not None
    return pair, session


def test_the_fleet_lists_the_worst_first_and_escapes_names(console: Console) -> None:
    page = html(console, "/")
    assert "<script>" not in page
    places = [page.index(name) for name in ("fog&lt;script&gt;", "odd/one", ">home<")]
    assert places == sorted(places)
    assert "Mean confidence went from" in page
    assert page.count('class="spark"') == 8
    assert "4 of 4 domains" in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [("q=HOM", ["home"]), ("state=unknown", ["odd/one"]), ("q=o&state=healthy", ["home", "north"])],
)
def test_the_fleet_is_filtered(console: Console, query: str, shown: list[str]) -> None:
    page = html(console, f"/?{query}")
    assert f"{len(shown)} of 4 domains" in page
    assert all(name in page for name in shown)
    assert "fog&lt;" not in page


def test_a_filter_that_fits_nothing_and_odd_pages_are_no_fault(console: Console) -> None:
    assert "No domain fits" in html(console, "/?q=%22%3E%3Cscript%3E&page=99999999999&state=zzz")
    assert "4 of 4" in html(console, "/?page=-3&q=")


def test_a_degraded_domain_shows_evidence_onset_and_split(console: Console) -> None:
    page = html(console, FOG)
    assert page.count('class="chart"') == 3
    assert page.count('class="onset"') == 3
    assert "threshold from 4.05 to 4.05" in page
    assert "by the look of the images" in page
    assert "before the onset" in page
    assert "cannot be estimated without labels: the bundle has no map" in page
    assert "/images/" not in page
    assert "Sign in</a> to see images" in page


def test_a_healthy_domain_and_a_slash_in_a_name(console: Console) -> None:
    home = html(console, "/domains/default/home?hours=720")
    assert 'class="onset"' not in home
    assert "Look or class mix" not in home
    assert "odd/one" in html(console, "/domains/default/odd%2Fone?hours=zzz")


def test_the_fleet_tells_the_promise_and_loads_itself_anew_when_asked(console: Console) -> None:
    page = html(console, "/")
    assert "for each domain at most a chance of 5 % of a false alarm in 0.1 days" in page
    assert "Refresh" not in dict(get(console, "/").headers)
    assert dict(get(console, "/?refresh=1").headers)["Refresh"] == "60"


def test_behind_a_proxy_with_tls_the_cookie_never_leaves_it(console: Console) -> None:
    answer = post(console, "/login", f"token={TOKEN}", **{"x-forwarded-proto": "https"})
    assert dict(answer.headers)["Set-Cookie"].endswith("; Secure")


def test_an_unknown_domain_or_page_is_named(console: Console) -> None:
    answer = get(console, "/domains/default/hom")
    assert answer.status == HTTPStatus.NOT_FOUND
    assert "home" in answer.body.decode()
    assert get(console, "/domains/default/%2e%2e/%2e%2e/etc").status == HTTPStatus.NOT_FOUND
    assert get(console, "/healings/none").status == HTTPStatus.NOT_FOUND


def test_images_need_a_token_and_are_never_cached(console: Console) -> None:
    page = html(console, FOG, LOOKER)
    target = re.search(r'src="(/images/[^"]+)"', page)
    assert target is not None
    answer = get(console, target[1], LOOKER)
    assert answer.body.startswith(b"\x89PNG")
    assert dict(answer.headers)["Cache-Control"] == "private, no-store"
    assert get(console, target[1]).status == HTTPStatus.UNAUTHORIZED
    assert get(console, target[1], HOOK).status == HTTPStatus.UNAUTHORIZED
    assert get(console, target[1], "guessed-guessed-guessed").status == HTTPStatus.UNAUTHORIZED
    wrong = target[1][:-64]
    assert get(console, wrong + "f" * 64, TOKEN).status == HTTPStatus.NOT_FOUND
    assert get(console, wrong + "..%2F..%2Fetc%2Fpasswd", TOKEN).status == HTTPStatus.NOT_FOUND


def test_images_of_the_onset_begin_there(console: Console, sources: Sources) -> None:
    alarm = next(a for a in sources.board.picture.alarms if a.key.domain == "fog<script>")
    early = len(re.findall("<img", html(console, FOG, TOKEN)))
    kept = sources.field.images("fog<script>", since_s=alarm.onset_s)
    assert early == len(kept) == 8


def test_pages_of_healings_show_the_gate_table(console: Console, healing: Healing) -> None:
    assert healing.healing_id in html(console, "/healings")
    page = html(console, f"/healings/{healing.healing_id}", TOKEN)
    assert "0.941 against 0.931" in page
    assert "cannot tell" in page
    assert f'action="/healings/{healing.healing_id}/approve"' in page
    assert "waits for your decision" in html(console, "/")
    assert "0.941 against 0.931" in html(console, FOG)


def test_without_the_role_nothing_can_be_decided(console: Console, healing: Healing) -> None:
    target = f"/healings/{healing.healing_id}/approve"
    assert "<button>Approve" not in html(console, f"/healings/{healing.healing_id}", LOOKER)
    assert post(console, target).status == HTTPStatus.UNAUTHORIZED
    cookie, session = sign_in(console, LOOKER)
    form = f"form_key={session.form_key}"
    assert post(console, target, form, cookie=cookie).status == HTTPStatus.FORBIDDEN
    bearer = {"authorization": f"Bearer {HOOK}"}
    assert post(console, target, **bearer).status == HTTPStatus.FORBIDDEN
    assert console.sources.control.healing(healing.healing_id).state == "proposed"


def test_a_forged_form_is_refused(console: Console, healing: Healing) -> None:
    target = f"/healings/{healing.healing_id}/approve"
    cookie, session = sign_in(console)
    good = f"form_key={session.form_key}"
    other, _ = sign_in(console)
    for form, headers in (
        ("", {"cookie": cookie}),
        ("form_key=guess", {"cookie": cookie}),
        (good, {"cookie": other}),
        (good, {"cookie": cookie, "origin": "http://evil:1"}),
        (good, {"cookie": cookie, "origin": "null"}),
        (good, {"cookie": cookie, "sec-fetch-site": "cross-site"}),
    ):
        assert post(console, target, form, **headers).status == HTTPStatus.FORBIDDEN
    assert console.sources.control.healing(healing.healing_id).state == "proposed"


def test_a_wrong_token_and_a_login_from_elsewhere_get_no_session(console: Console) -> None:
    wrong = post(console, "/login", "token=guess")
    assert wrong.status == HTTPStatus.UNAUTHORIZED
    assert "Set-Cookie" not in dict(wrong.headers)
    assert post(console, "/login", f"token={TOKEN}", origin="http://evil").status == 403


def test_signing_out_ends_the_session(console: Console) -> None:
    cookie, session = sign_in(console)
    assert "Sign out" in html(console, "/", cookie=cookie)
    answer = post(console, "/logout", f"form_key={session.form_key}", cookie=cookie)
    assert "Max-Age=0" in dict(answer.headers)["Set-Cookie"]
    assert "Sign in" in html(console, "/", cookie=cookie)


def test_the_api_lists_every_domain(console: Console) -> None:
    rows = json.loads(get(console, "/api/domains").body)
    assert {row["domain"]: row["state"] for row in rows} == {
        "fog<script>": "degraded",
        "home": "healthy",
        "north gate": "healthy",
        "odd/one": "unknown",
    }


def test_the_runbook_is_a_page(console: Console) -> None:
    assert 'id="a-domain-is-degraded"' in html(console, "/runbook")


def test_pages_load_nothing_from_elsewhere(console: Console, healing: Healing) -> None:
    for target in ("/", FOG, "/healings", f"/healings/{healing.healing_id}", "/releases", "/login"):
        page = html(console, target, TOKEN)
        assert not re.search(r'(?:src|href|action)="(?!/|#)', page)
        assert "<script" not in page
        assert " style=" not in page
        assert " on" not in re.sub(r">[^<]*<", "><", page).replace(" one", "")


# From here on the scene changes.


def test_an_approval_moves_the_healing_and_names_its_actor(
    console: Console, healing: Healing
) -> None:
    cookie, session = sign_in(console)
    target = f"/healings/{healing.healing_id}/approve"
    form = f"form_key={session.form_key}&reason=looked+at+it"
    answer = post(console, target, form, cookie=cookie)
    assert answer.status == HTTPStatus.SEE_OTHER
    assert dict(answer.headers)["Location"] == f"/healings/{healing.healing_id}"
    moved = console.sources.control.healing(healing.healing_id)
    assert (moved.state, moved.reason) == ("shadow", "approved by ann: looked at it")
    assert console.sources.control.audit()[-1].actor == "ann"
    again = post(console, target, form, cookie=cookie)
    assert again.status == HTTPStatus.CONFLICT
    assert "not &#39;proposed&#39;" in again.body.decode()


def test_a_bearer_token_decides_without_a_form(console: Console, healing: Healing) -> None:
    target = f"/healings/{healing.healing_id}/reject"
    answer = post(console, target, "reason=no", authorization=f"Bearer {TOKEN}")
    assert answer.status == HTTPStatus.SEE_OTHER
    assert console.sources.control.healing(healing.healing_id).state == "rejected"


def test_a_release_goes_back(console: Console, sources: Sources) -> None:
    assert "b0" in html(console, "/releases", TOKEN)
    answer = post(console, "/releases/default/rollback", authorization=f"Bearer {TOKEN}")
    assert answer.status == HTTPStatus.SEE_OTHER
    release = sources.registry.read("default")
    assert (release.live, release.actor) == ("b0", "ann")
    assert sources.control.audit()[-1].action == "rolled_back"
    unknown = post(console, "/releases/nothing/rollback", authorization=f"Bearer {TOKEN}")
    assert unknown.status == HTTPStatus.NOT_FOUND
    sources.registry.rollback("default", actor="ann", reason="and forth", at_s=1.0)


def test_the_trail_is_whole_after_all_that(sources: Sources) -> None:
    assert sources.control.verify_audit() > 4


def test_a_console_without_tokens_only_reads(tmp_path: Path) -> None:
    console = Console(make_sources(tmp_path, with_tokens=False))
    assert "This console only reads" in html(console, "/login")
    assert post(console, "/releases/default/rollback").status == HTTPStatus.UNAUTHORIZED
    assert post(console, "/login", "token=").status == HTTPStatus.UNAUTHORIZED
