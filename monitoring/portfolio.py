"""One promise for all domains together: e-BH over their evidence.

With D domains each would have to be D times as sure. The e-Benjamini-Hochberg rule asks less once
several are sure: k domains alarm together when each has D / k times the evidence of a lone domain's
threshold (Wang and Ramdas 2022; for streams Dandapanthula and Ramdas 2025, "error over patience").
When nothing is wrong anywhere, any alarm in a period is as improbable as `false_alarms`; when much
is wrong, the expected share of false alarms among all is at most that. Dependence between domains
does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def strictness(surplus: Iterable[float]) -> float:
    """How much evidence, in log10, every domain needs beyond its own threshold.

    Args:
        surplus: log10 of evidence over threshold of every domain under watch, alarmed or not;
            -inf for one without a detector yet.

    Returns:
        log10(D / k) of the largest k for which k domains have it; log10(D) when none have.
    """
    ordered = sorted(surplus, reverse=True)
    if not ordered:
        return 0.0
    needed = [math.log10(len(ordered) / k) for k in range(1, len(ordered) + 1)]
    enough = [
        k for k, (found, need) in enumerate(zip(ordered, needed, strict=True)) if found >= need
    ]
    return needed[enough[-1]] if enough else needed[0]
