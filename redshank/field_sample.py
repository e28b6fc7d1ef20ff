"""Which images of one site stay: the newest, and a uniform sample of what is older.

A sha256 digest is as good as a random number, so the smallest of many are a uniform sample of them,
whatever their order. Nothing but the images themselves is state, and what comes in piece by piece,
in any order and through several processes, ends as if it had come at once:
`sample(a | b, n) == sample(sample(a, n) | sample(b, n), n)`.
"""

from __future__ import annotations

from collections.abc import Mapping


def sample(received: Mapping[str, float], most: int) -> set[str]:
    """The digests that stay of a site's images.

    Half of the places (an odd one included) are of the newest; of all others the smallest digests
    stay.

    Args:
        received: digest -> when the image came, in seconds since the epoch.
        most: places, 0 or more.
    """
    if len(received) <= most:
        return set(received)
    by_age = sorted(zip(received.values(), received.keys(), strict=True))
    older = len(received) - (most + 1) // 2
    others = sorted(digest for _, digest in by_age[:older])
    return {digest for _, digest in by_age[older:]}.union(others[: most // 2])
