"""The console in a real browser: a person's way through it, on a desk, on a phone, by keyboard.

`python -m tests.monitoring.console.test_chromium docs/img` takes the screenshots of the pages.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitoring.console.sources import Sources
from monitoring.endpoint import serve_console
from tests.monitoring import field
from tests.monitoring.console.browser import PROGRAM, Browser, browser
from tests.monitoring.console.scene import TOKEN, add_images, make_sources, propose
from tests.monitoring.field import Site

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="chromium is not installed (Debian: chromium)"
)
FOG = "/domains/default/fog%3Cscript%3E"
PHONE = (390, 844)
DESK = (1200, 900)
SHOWN = (
    Site("harbour east", 30, spread=0.3),
    Site("harbour west"),
    Site("north gate"),
    Site("old barn", 30, novelty=40.0),
    Site("quarry", 30, mix=(0.7, 0.1, 0.1, 0.1), hardness=(2.0, 1.0, 1.0, 1.0)),
    Site("south gate"),
    Site("weir", 50, novelty=3.0),
)
"""Sites of the screenshots."""
LABEL = f"{FOG}/label"
PAGES = ("/", FOG, "/domains/default/home", "/healings", "/releases", "/login", "/runbook")


@dataclass(frozen=True)
class Visit:
    """A browser at a console."""

    tab: Browser
    address: str
    sources: Sources

    def open(self, target: str) -> Browser:
        self.tab.open(self.address + target)
        return self.tab


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    root = tmp_path_factory.mktemp("chromium")
    sources = make_sources(root / "home")
    add_images(root / "home", "fog<script>")
    propose(sources.control)
    with (
        serve_console(sources, "127.0.0.1", 0) as address,
        browser(root / "profile") as tab,
    ):
        yield Visit(tab, address, sources)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_page_is_wider_than_the_window(visit: Visit, size: tuple[int, int], dark: bool) -> None:
    visit.tab.size(*size, dark=dark, phone=size == PHONE)
    for target in PAGES:
        tab = visit.open(target)
        assert tab.value("document.documentElement.scrollWidth") <= size[0], target
    background = tab.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(21, 25, 23)" if dark else "rgb(255, 255, 255)")


def test_the_screen_reader_finds_landmarks_names_and_one_heading(visit: Visit) -> None:
    for target in PAGES:
        tab = visit.open(target)
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        seen = [n for n in nodes if not n.get("ignored")]
        roles = [n["role"]["value"] for n in seen]
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            assert landmark in roles, f"{target} has no {landmark}"
        assert tab.value("document.querySelectorAll('h1').length") == 1
        assert tab.value("document.documentElement.lang") == "en"
        needs_name = ("link", "button", "textbox", "searchbox", "combobox", "image", "region")
        for node in seen:
            role = node["role"]["value"]
            if role in needs_name:
                assert node.get("name", {}).get("value", "").strip(), f"{target}: {role}"


def test_targets_are_large_enough_for_a_finger(visit: Visit) -> None:
    visit.tab.size(*PHONE, phone=True)
    for target in ("/", "/login"):
        tab = visit.open(target)
        small = (
            "[...document.querySelectorAll('button, input:not([type=hidden]), select, nav a')]"
            ".filter(e => e.getBoundingClientRect().height < 24).map(e => e.outerHTML)"
        )
        assert tab.value(small) == []


def test_the_keyboard_reaches_everything_and_its_focus_shows(visit: Visit) -> None:
    visit.tab.size(*DESK)
    tab = visit.open("/")
    tab.press("Tab", 9)
    assert tab.value("document.activeElement.textContent") == "Skip to the content"
    assert tab.value("document.activeElement.getBoundingClientRect().left") >= 0
    reached = []
    for _ in range(20):
        tab.press("Tab", 9)
        reached.append(tab.value("document.activeElement.textContent.trim()"))
        style = tab.value("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none", f"no focus ring on {reached[-1]}"
    assert {"Fleet", "Healings", "Sign in", "Show"} <= set(reached)


def test_a_person_signs_in_sees_images_and_approves(visit: Visit) -> None:
    tab = visit.open(FOG)
    assert tab.value("document.querySelectorAll('.images img').length") == 0
    visit.open("/login")
    tab.value("document.querySelector('input[name=token]').focus()")
    tab.type(TOKEN)
    tab.value("document.querySelector('form.login button').click()")
    tab.wait("location.pathname === '/' && document.querySelector('.who button') !== null")
    assert tab.value("document.cookie") == ""  # scripts cannot read it
    visit.open(FOG)
    tab.value("document.querySelector('.images').scrollIntoView()")
    tab.wait("[...document.querySelectorAll('.images img')].some(i => i.naturalWidth === 48)")
    visit.open("/healings")
    tab.value("document.querySelector('tbody a').click()")
    tab.wait("location.pathname.length > 12 && document.querySelector('.approve') !== null")
    tab.value("document.querySelector('.approve input[name=reason]').focus()")
    tab.type("seen in the browser")
    tab.value("document.querySelector('.approve button').click()")
    tab.wait("/seen in the browser/.test((document.querySelector('.trail') || {}).textContent)")
    healing = visit.sources.control.healings()[-1]
    assert (healing.state, healing.reason) == ("shadow", "approved by ann: seen in the browser")
    visit.open("/releases")
    tab.value("document.querySelector('form.decision button').click()")
    tab.wait("document.querySelector('main').textContent.includes('live b0')")
    assert visit.sources.registry.read("default").actor == "ann"


def test_a_person_labels_an_image_by_keyboard_and_corrects_it_on_a_phone(visit: Visit) -> None:
    tab = visit.open(LABEL)  # signed in by the test before
    tab.size(*PHONE, phone=True)
    assert tab.value("document.activeElement.textContent") == "class 0"
    assert tab.value("document.documentElement.scrollWidth") <= PHONE[0]
    tab.wait("document.querySelector('.labelling img').naturalWidth === 48")
    small = "[...document.querySelectorAll('main button')].filter(b => b.offsetHeight < 44).length"
    assert tab.value(small) == 0
    first = tab.value("document.querySelector('input[name=image]').value")
    tab.press("Tab", 9)
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") != "none"
    tab.press_enter()
    tab.wait("/1 of 50 labelled; the last one as class 1/.test(document.body.innerText)")
    assert visit.sources.control.labels([first]) == {first: "class 1"}
    tab.value("document.querySelector('#progress a').click()")
    tab.wait("/It was labelled as class 1/.test(document.body.innerText)")
    tab.value(
        "[...document.querySelectorAll('button')].find(b => /tell/.test(b.innerText)).click()"
    )
    tab.wait("/0 of 50 labelled; the last one as nobody can tell/.test(document.body.innerText)")
    assert visit.sources.control.labels([first]) == {first: "?"}
    row = visit.sources.control.audit()[-1]
    assert (row.action, row.actor, row.subject) == ("labels", "ann", first)
    for node in tab.call("Accessibility.getFullAXTree")["nodes"]:
        role = node["role"]["value"]
        if not node.get("ignored") and role in ("button", "image", "progressbar"):
            assert node.get("name", {}).get("value", "").strip(), role
    assert tab.value("document.querySelectorAll('h1').length") == 1


def test_nothing_came_from_elsewhere_and_no_policy_was_broken(visit: Visit) -> None:
    visit.open("/")
    own = (visit.address, "about:blank")
    assert [url for url in visit.tab.requested() if not url.startswith(own)] == []
    assert visit.tab.complaints() == []


def take_screenshots(folder: Path) -> None:
    """Fleet and domain on a desk, the fleet in the dark and the labelling form on a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    field.START = 1_795_165_200.0  # a day of our time looks better
    root = Path(tempfile.mkdtemp())
    sources = make_sources(root / "home", sites=SHOWN)
    add_images(root / "home", "harbour east", 6)
    propose(sources.control)
    with serve_console(sources, "127.0.0.1", 0) as address, browser(root / "profile") as tab:
        tab.size(*DESK)
        tab.open(f"{address}/")
        tab.screenshot(folder / "console-fleet.png")
        tab.size(*PHONE, dark=True, phone=True)
        tab.open(f"{address}/")
        tab.screenshot(folder / "console-phone.png", height=PHONE[1])
        tab.size(*DESK)
        tab.open(f"{address}/login")
        tab.value(f"document.querySelector('input[name=token]').value = '{TOKEN}'")
        tab.value("document.querySelector('form.login').submit()")
        tab.wait("location.pathname === '/'")
        tab.open(f"{address}/domains/default/harbour%20east")
        tab.screenshot(folder / "console-domain.png")
        tab.size(*PHONE, phone=True)
        tab.open(f"{address}/domains/default/harbour%20east/label")
        tab.screenshot(folder / "console-label.png", height=PHONE[1])


if __name__ == "__main__":
    take_screenshots(Path(sys.argv[1]))
