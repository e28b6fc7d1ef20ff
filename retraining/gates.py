"""The gates: what a challenger must show before it may answer traffic. Pure functions on arrays.

Shapes: N images, C classes. Each gate compares the challenger with the champion on the same images
and returns one line of the gate table. Confidence is never a reason to accept: self-training that
collapses to few classes *raises* it (docs/retraining.md), so no function here looks at it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from redshank.healing import Gate, Verdict

from .paired_test import non_inferior

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MIN_FIELD_IMAGES = 50
"""Below so many images a class entropy is noise."""


def accuracy_gate(
    name: Literal["source_validation", "field_labels"],
    domain: str,
    champion_class_N: Ints,
    challenger_class_N: Ints,
    label_N: Ints,
    *,
    margin: float,
    alpha: float,
) -> Gate:
    """Accuracy on labelled images of a domain must not fall by `margin`.

    `source_validation`: held-back images of a source domain. `field_labels`: field images that
    people labelled afterwards.
    """
    old_N, new_N = champion_class_N == label_N, challenger_class_N == label_N
    result = non_inferior(old_N, new_N, margin=margin, alpha=alpha)
    seen = "no labelled image"
    if result.n:
        seen = (
            f"accuracy on {result.n} labelled images: champion {old_N.mean():.1%}, "
            f"challenger {new_N.mean():.1%} (only one right: {result.only_champion} and "
            f"{result.only_challenger}); so many images show a drop of {result.detectable:.1%}"
        )
    return Gate(
        name=name,
        domain=domain,
        verdict=result.verdict,
        value=result.drop,
        threshold=margin,
        n=result.n,
        detectable=result.detectable,
        sentence=f"{domain}: {seen}; a drop below {margin:.1%} must be shown",
    )


def class_entropy_gate(
    domain: str,
    champion_class_N: Ints,
    challenger_class_N: Ints,
    *,
    classes: int,
    max_drop: float,
) -> Gate:
    """The challenger must not put a site's images into fewer classes than the champion did.

    The entropy of the predicted-class histogram, as a share of log(classes), may fall by at most
    `max_drop`. Of all label-free numbers measured this one told collapse from healing best.
    """
    n = champion_class_N.size
    old, new = class_entropy(champion_class_N, classes), class_entropy(challenger_class_N, classes)
    drop = old - new
    verdict: Verdict = "fail" if drop > max_drop else "pass"
    return Gate(
        name="class_entropy",
        domain=domain,
        verdict="cannot_tell" if n < MIN_FIELD_IMAGES else verdict,
        value=drop,
        threshold=max_drop,
        n=n,
        detectable=None,
        sentence=f"entropy of predicted classes on {n} field images of {domain or 'any site'}: "
        f"champion {old:.3f}, challenger {new:.3f} of log({classes}); "
        f"a fall of {drop:.3f}, allowed {max_drop:.3f}",
    )


def agreement_gate(
    domain: str, champion_class_N: Ints, challenger_class_N: Ints, *, min_agreement: float
) -> Gate:
    """Both must give the same class for at least a share of the source validation images."""
    n = champion_class_N.size
    agreement = float((champion_class_N == challenger_class_N).mean()) if n else 0.0
    verdict: Verdict = "pass" if agreement >= min_agreement else "fail"
    return Gate(
        name="agreement",
        domain=domain,
        verdict=verdict if n else "cannot_tell",
        value=agreement,
        threshold=min_agreement,
        n=n,
        detectable=None,
        sentence=f"champion and challenger agree on {agreement:.1%} of {n} validation images of "
        f"{domain}, at least {min_agreement:.0%} needed",
    )


def nuclear_norm_gate(
    domain: str, champion_NC: Floats, challenger_NC: Floats, *, max_drop: float
) -> Gate:
    """The normalised nuclear norm of the probabilities on a site must not fall by `max_drop`."""
    n = len(champion_NC)
    old, new = nuclear_norm(champion_NC), nuclear_norm(challenger_NC)
    verdict: Verdict = "fail" if old - new > max_drop else "pass"
    return Gate(
        name="nuclear_norm",
        domain=domain,
        verdict="cannot_tell" if n < MIN_FIELD_IMAGES else verdict,
        value=old - new,
        threshold=max_drop,
        n=n,
        detectable=None,
        sentence=f"nuclear norm of probabilities on {n} field images of {domain}: champion "
        f"{old:.3f}, challenger {new:.3f}; a fall of {old - new:.3f}, allowed {max_drop:.3f}",
    )


def golden_gate(difference: float | None, *, parity: float, why: str) -> Gate:
    """The exported challenger loads and answers here as it did at export.

    Args:
        difference: largest golden difference of `Model.self_test`; None when it was refused.
        parity: largest difference between torch and ONNX Runtime, which export has judged.
        why: the refusal's message, empty when there was none.
    """
    found = why if difference is None else f"golden answers differ by {difference:.3g}"
    return Gate(
        name="golden",
        domain="",
        verdict="fail" if difference is None else "pass",
        value=difference or 0.0,
        threshold=0.0,
        n=0,
        detectable=None,
        sentence=f"{found}; parity with the trained network at export {parity:.3g}",
    )


def overall(gates: Iterable[Gate]) -> Verdict:
    """One failed gate refuses; else one that cannot tell leaves the decision to a person."""
    verdicts = {gate.verdict for gate in gates}
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts == {"pass"} else "cannot_tell"


def class_entropy(class_N: Ints, classes: int) -> float:
    """Entropy of the histogram of predicted classes as a share of log(classes), in [0, 1]."""
    if class_N.size == 0 or classes < 2:
        return 0.0
    share_C = np.bincount(class_N, minlength=classes) / class_N.size
    share_C = share_C[share_C > 0]
    return max(0.0, -float(share_C @ np.log(share_C)) / math.log(classes))


def nuclear_norm(probability_NC: Floats) -> float:
    """Sum of singular values over its largest possible value sqrt(N * min(N, C)), in [0, 1].

    High when answers are sure *and* spread over classes (W. Deng et al., "Confidence and dispersity
    speak", ICML 2023).
    """
    n, classes = probability_NC.shape
    if n == 0:
        return 0.0
    singular = np.linalg.svd(probability_NC, compute_uv=False)
    return float(singular.sum()) / math.sqrt(n * min(n, classes))
