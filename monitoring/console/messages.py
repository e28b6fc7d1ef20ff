"""What comes in and what goes out: requests and answers of the console, without sockets."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie

from .access import Access, Holder, Session

COOKIE = "redshank_session"


@dataclass(frozen=True)
class Request:
    """One request; header names are lower case."""

    method: str
    target: str
    """Path and query as sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def parts(self) -> tuple[str, ...]:
        """The path's parts, decoded: a domain may hold a slash."""
        path = urllib.parse.urlsplit(self.target).path
        return tuple(urllib.parse.unquote(part) for part in path.split("/") if part)

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name in the query."""
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.target).query))

    @property
    def form(self) -> dict[str, str]:
        """The last value of each field of a sent form."""
        return dict(urllib.parse.parse_qsl(self.body.decode(errors="replace")))

    @property
    def cookie(self) -> str:
        """The session's cookie, empty without one."""
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return ""
        return found.value if found else ""

    @property
    def bearer(self) -> str:
        """The token of an `Authorization: Bearer` header, empty without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @property
    def is_secure(self) -> bool:
        """Whether a proxy says that it was asked over TLS."""
        return self.headers.get("x-forwarded-proto") == "https"

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether a browser says that another site made it send this."""
        if self.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        origin = self.headers.get("origin")
        return origin is not None and urllib.parse.urlsplit(origin).netloc != self.headers.get(
            "host"
        )


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: HTTPStatus
    body: bytes
    kind: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Visitor:
    """Who asks: by session, by bearer token, or nobody known."""

    holder: Holder | None
    session: Session | None

    @property
    def name(self) -> str:
        """Actor of what the visitor decides."""
        return self.holder.name if self.holder else ""

    @property
    def form_key(self) -> str:
        """What the visitor's forms must send back."""
        return self.session.form_key if self.session else ""

    def may(self, role: str) -> bool:
        """Whether the visitor has a role."""
        return self.holder is not None and self.holder.may(role)


def visitor_of(request: Request, access: Access) -> Visitor:
    """Who sent a request."""
    if request.bearer:
        return Visitor(access.holder(request.bearer), None)
    session = access.session(request.cookie) if request.cookie else None
    return Visitor(session.holder if session else None, session)


def text(status: HTTPStatus, body: str) -> Answer:
    """Plain text."""
    return Answer(status, body.encode(), "text/plain; charset=utf-8")


def redirect(path: str, *headers: tuple[str, str]) -> Answer:
    """Go on to another page of ours, by GET."""
    return Answer(HTTPStatus.SEE_OTHER, b"", headers=(("Location", path), *headers))


def every_minute(answer: Answer) -> Answer:
    """The answer, which the browser asks for again each minute."""
    return dataclasses.replace(answer, headers=(*answer.headers, ("Refresh", "60")))


def session_cookie(value: str, max_age_s: float, *, is_secure: bool = False) -> tuple[str, str]:
    """The header that sets the session's cookie, or with an empty value drops it."""
    age = int(max_age_s) if value else 0
    flags = f"Path=/; HttpOnly; SameSite=Strict; Max-Age={age}" + ("; Secure" if is_secure else "")
    return "Set-Cookie", f"{COOKIE}={value}; {flags}"
