"""Addresses of the console's pages; every part is quoted, a domain may hold anything."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping


def path(*parts: str) -> str:
    """`/a/b`, each part quoted as a whole."""
    return "/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


def domain_path(model: str, domain: str) -> str:
    """The page of a domain."""
    return path("domains", model, domain)


def fleet_path(query: Mapping[str, str], *, page: int) -> str:
    """Another page of the fleet's table with the same filter."""
    kept = {name: query[name] for name in ("q", "state") if query.get(name)}
    return "/?" + urllib.parse.urlencode({**kept, "page": page})
