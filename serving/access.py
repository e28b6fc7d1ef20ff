"""Who may ask for what: bearer tokens from a file, or an open server on the loopback only.

{"<token>": {"roles": ["predict", "admin"], "domains": ["gate-1"]}}     domains []: all of them

Roles: `predict` asks, `admin` changes releases, `metrics` reads `/metrics`. As soon as one token
has the role `metrics`, `/metrics` asks for it; until then it is open, like the probes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from redshank.errors import ConfigError, RedshankError
from redshank.files import read_json
from redshank.records import from_dict

from .refusal import Refusal

ROLES = ("predict", "admin", "metrics")


@dataclass(frozen=True)
class Grant:
    """What one token allows."""

    roles: tuple[str, ...]
    domains: tuple[str, ...] = ()
    """Domains it may name; empty: all."""


_EVERYTHING = Grant(ROLES)


class Access:
    """Checks requests against the tokens; without tokens everything is allowed.

    Args:
        grants: sha256 of a token -> what it allows; None when the server is open, which
            `load_access` lets only the loopback be.
    """

    def __init__(self, grants: Mapping[str, Grant] | None) -> None:
        self._grants = grants
        self.metrics_guarded = any("metrics" in g.roles for g in (grants or {}).values())
        """Whether `/metrics` asks for a token."""

    def grant(self, authorization: str, role: str) -> Grant:
        """What a request may do.

        Raises:
            Refusal: no token, a wrong one, or one without the role.
        """
        if self._grants is None:
            return _EVERYTHING
        scheme, _, token = authorization.partition(" ")
        found = self._grants.get(_digest(token.strip()))
        if scheme.lower() != "bearer" or found is None:
            raise Refusal("unauthorized", hint="Send Authorization: Bearer <token>.")
        if role not in found.roles:
            raise Refusal("unauthorized", f"the token has not the role {role!r}")
        return found

    def grant_admin(self, headers: Mapping[str, str]) -> Grant:
        """What a request that changes releases may do.

        An open server has no secret that a web page lacks which a browser on this machine shows:
        there a page from elsewhere is known by its origin.

        Raises:
            Refusal: as `grant`, or another site's page asks an open server.
        """
        origin = headers.get("origin")
        if self._grants is None and origin is not None and not _is_local(origin):
            raise Refusal(
                "unauthorized",
                f"a page of {origin[:80]!r} must not change releases",
                hint="Give the server a tokens file, or ask from a page of this machine.",
            )
        return self.grant(headers.get("authorization", ""), "admin")


def _is_local(origin: str) -> bool:
    try:
        return is_loopback(urlsplit(origin).hostname or "")
    except ValueError:  # no address at all
        return False


def check_domain_granted(grant: Grant, domain: str) -> None:
    """Refuse a domain that the token does not cover.

    Raises:
        Refusal: the token names other domains.
    """
    if grant.domains and domain not in grant.domains:
        raise Refusal("unauthorized", f"the token does not cover the domain {domain!r}")


def load_access(tokens_file: str, host: str) -> Access:
    """Read the tokens file; without one, only a server bound to the loopback may be open.

    Raises:
        ConfigError: the file is broken, or the server would be open to a network.
    """
    if not tokens_file:
        if not is_loopback(host):
            raise ConfigError(
                f"serving.host is {host}, but serving.tokens_file is empty: anybody could ask",
                hint="Give a tokens file, or bind 127.0.0.1 (a Bento: --host 127.0.0.1) and put a "
                "proxy in front.",
            )
        return Access(None)
    try:
        values = read_json(Path(tokens_file))
        if not isinstance(values, dict):
            raise ConfigError(f"{tokens_file} is no JSON object of tokens")
        grants: dict[str, Grant] = {}
        for number, (token, value) in enumerate(values.items(), start=1):
            source = f"{tokens_file}, token {number}"  # the token itself stays out of messages
            if not token.strip():
                raise ConfigError(f"{source} is empty: anybody could send it")
            grants[_digest(token.strip())] = _checked(
                from_dict(Grant, value, source=source), source
            )
    except ConfigError:
        raise
    except RedshankError as error:
        raise ConfigError(f"serving.tokens_file: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise ConfigError(f"serving.tokens_file: {error}") from error
    return Access(grants)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(grant: Grant, source: str) -> Grant:
    unknown = [role for role in grant.roles if role not in ROLES]
    if unknown:
        raise ConfigError(f"{source}: role {unknown[0]!r} is none of {', '.join(ROLES)}")
    return grant


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
