"""Values into HTML: Jinja templates with escaping on, and the headers of every page."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2

from redshank.files import rfc3339

from .links import domain_path, path
from .messages import Answer, Visitor

FOLDER = Path(__file__).parent / "templates"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""No scripts at all, and nothing from elsewhere."""
FILES = {"console.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
)
"""Sent with every answer."""


class Pages:
    """Renders templates; one for all threads."""

    def __init__(self) -> None:
        self._jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters |= {
            "words": lambda name: str(name).replace("_", " "),
            "moment": moment,
            "percent": lambda ratio: f"{ratio:.1%}",
            "points": lambda ratio: f"{round(100 * ratio, 1) + 0.0:+.1f} points",
        }
        self._jinja.globals |= {"domain_path": domain_path, "path": path}

    def page(
        self,
        template: str,
        visitor: Visitor,
        values: dict[str, Any],
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Answer:
        """One page; every template knows `visitor`."""
        html = self._jinja.get_template(f"{template}.html.j2").render(visitor=visitor, **values)
        return Answer(status, html.encode(), headers=(("Cache-Control", "no-store"),))

    def file(self, name: str) -> Answer:
        """The style sheet or the icon."""
        kept = ("Cache-Control", "max-age=300")
        return Answer(HTTPStatus.OK, (FOLDER / name).read_bytes(), FILES[name], (kept,))


def moment(at: str | float) -> str:
    """A time for people: to the second, UTC."""
    shown = at if isinstance(at, str) else rfc3339(at)
    return shown[:19].replace("T", " ") + " UTC"
