from __future__ import annotations

import re

import pytest

from monitoring.console.render import FOLDER

CSS = (FOLDER / "console.css").read_text()
TEXT_PAIRS = [
    ("text", "page"), ("text", "panel"), ("soft", "page"), ("soft", "panel"), ("link", "page"),
    ("link", "panel"), ("on-bad", "bad"), ("on-warn", "warn"), ("on-odd", "odd"),
    ("on-off", "off"), ("on-good", "good"), ("on-wait", "wait"),
]  # fmt: skip
LINE_PAIRS = [("main", "page"), ("second", "page"), ("level", "page"), ("focus", "page")]


def colours(dark: bool) -> dict[str, str]:
    light, _, rest = CSS.partition("@media (prefers-color-scheme: dark)")
    block = rest.partition("}\n}")[0] if dark else light
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_has_the_contrast_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("on", "under"), TEXT_PAIRS)
def test_text_can_be_read(on: str, under: str, dark: bool) -> None:
    found = colours(dark)
    assert contrast(found[on], found[under]) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("on", "under"), LINE_PAIRS)
def test_lines_can_be_told_from_the_page(on: str, under: str, dark: bool) -> None:
    found = colours(dark)
    assert contrast(found[on], found[under]) >= 3.0


def test_both_schemes_have_the_same_colours() -> None:
    assert colours(dark=False).keys() == colours(dark=True).keys()


def test_the_style_sheet_loads_nothing() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
