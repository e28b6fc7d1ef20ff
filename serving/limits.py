"""What a request may bring, and how many names it may leave in the metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass

from redshank.http_api import DEADLINE_HEADER

from .refusal import Refusal

DEFAULT_DOMAIN = "default"
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}")
_TOKEN = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,127}")


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker; see `[serving]` in redshank/settings.py for units and meaning."""

    max_body_bytes: int
    max_pixels: int
    max_queue: int
    max_files: int
    deadline_s: float


def checked_domain(text: str | None) -> str:
    """The domain label of a request; `default` when there is none.

    Raises:
        Refusal: it is not 1 to 64 of letters, digits and . _ : / @ -.
    """
    if not text:
        return DEFAULT_DOMAIN
    if not _DOMAIN.fullmatch(text):
        raise Refusal(
            "invalid_domain",
            f"domain {text[:80]!r} does not fit",
            hint="Use 1 to 64 of letters, digits and . _ : / @ - and start with a letter or digit.",
        )
    return text


def checked_label(name: str, text: str | None) -> str:
    """A sequence or client id; empty when there is none.

    Raises:
        Refusal: it is longer than 128 or holds other than printable ASCII.
    """
    if not text:
        return ""
    if not _TOKEN.fullmatch(text):
        raise Refusal(
            "bad_request",
            f"{name} {text[:80]!r} does not fit",
            hint="Use 1 to 128 printable ASCII characters.",
        )
    return text


def checked_deadline_s(text: str | None) -> float | None:
    """How long the sender waits, in seconds; None when it does not say.

    Raises:
        Refusal: not a whole number of milliseconds from 1 up.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not int(text):
        raise Refusal(
            "bad_request",
            f"{DEADLINE_HEADER} {text[:80]!r} does not fit",
            hint="Send how many milliseconds you wait, a whole number from 1 up.",
        )
    return int(text) / 1000


class DomainLabels:
    """Domains with metric series of their own: the first `most`, the rest share `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, domain: str) -> str:
        """The label value for a domain."""
        if domain in self._known:
            return domain
        if len(self._known) >= self._most:
            return "other"
        self._known.add(domain)
        return domain
