"""Who may decide: tokens from a file, sessions of a browser, and the guard against forged forms.

    {"<token>": {"name": "ann", "roles": ["decide"]}, "<token>": {"name": "alerts", "roles": [...]}}

Roles: `look` (example images), `label` (images and labels), `decide` (all of that and decisions),
`alerts` (Alertmanager's webhook).
A browser gives its token once and gets a session: a cookie that scripts cannot read and other sites
cannot send. Every form carries the session's own form key besides. Only digests are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import ConfigError, RedshankError
from redshank.files import Clock, read_json
from redshank.records import from_dict

ROLES = ("look", "label", "decide", "alerts")
INCLUDED = {"label": ("look",), "decide": ("look", "label")}
"""Roles that come with a role."""
SHORTEST = 16
"""Characters of a token; shorter ones could be guessed."""
SESSION_S = 12 * 3600.0
MOST_SESSIONS = 1000


@dataclass(frozen=True)
class Holder:
    """Who a token belongs to."""

    name: str
    """Actor of the audit rows."""
    roles: tuple[str, ...]

    def may(self, role: str) -> bool:
        """Whether the holder has a role; who decides may also label, who labels may also look."""
        return any(role in (own, *INCLUDED.get(own, ())) for own in self.roles)


@dataclass(frozen=True)
class Session:
    """A browser that gave a token."""

    holder: Holder
    form_key: str
    """Must come back with every form."""
    ends_s: float


class Access:
    """Checks tokens, sessions and form keys; safe from threads.

    Args:
        holders: sha256 of a token -> its holder; empty: nobody may decide anything.
        clock: seconds since the epoch.
    """

    def __init__(self, holders: Mapping[str, Holder], clock: Clock) -> None:
        self._holders, self._clock = dict(holders), clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether there is any token at all."""
        return bool(self._holders)

    def holder(self, token: str) -> Holder | None:
        """Who has this token."""
        return self._holders.get(_digest(token.strip()))

    def begin(self, holder: Holder) -> str:
        """A new session; returns the value of its cookie."""
        cookie, now_s = secrets.token_urlsafe(32), self._clock()
        session = Session(holder, secrets.token_urlsafe(32), now_s + SESSION_S)
        with self._lock:
            living = [(k, s) for k, s in self._sessions.items() if s.ends_s > now_s]
            self._sessions = dict([*living, (_digest(cookie), session)][-MOST_SESSIONS:])
        return cookie

    def session(self, cookie: str) -> Session | None:
        """The living session of a cookie."""
        with self._lock:
            found = self._sessions.get(_digest(cookie))
        return found if found is not None and found.ends_s > self._clock() else None

    def end(self, cookie: str) -> None:
        """Forget a session."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)


def is_form_key(session: Session, sent: str) -> bool:
    """Whether a form came from a page of this session."""
    return hmac.compare_digest(session.form_key.encode(), sent.encode())


def load_access(tokens_file: str, clock: Clock) -> Access:
    """Read the tokens file; without one nobody can sign in.

    Raises:
        ConfigError: it is no such file, a token is short, or a role is unknown.
    """
    if not tokens_file:
        return Access({}, clock)
    holders: dict[str, Holder] = {}
    try:
        values = read_json(Path(tokens_file))
        if not isinstance(values, dict):
            raise ConfigError(f"{tokens_file} is no JSON object of tokens")
        for number, (token, value) in enumerate(values.items(), start=1):
            source = f"{tokens_file}, token {number}"  # the token itself stays out of messages
            if len(token.strip()) < SHORTEST:
                raise ConfigError(
                    f"{source} has {len(token.strip())} characters, at least {SHORTEST} are needed",
                    hint="python -c 'import secrets; print(secrets.token_urlsafe())' makes one.",
                )
            holders[_digest(token.strip())] = _checked(from_dict(Holder, value, source=source))
    except ConfigError:
        raise
    except RedshankError as error:
        raise ConfigError(error.message, hint=error.hint) from error
    return Access(holders, clock)


def _checked(holder: Holder) -> Holder:
    unknown = [role for role in holder.roles if role not in ROLES]
    if unknown:
        raise ConfigError(f"role {unknown[0]!r} of {holder.name!r} is none of {', '.join(ROLES)}")
    return holder


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
