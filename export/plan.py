"""What the user decides about an export, and which numbers cannot work."""

from __future__ import annotations

from dataclasses import dataclass, field

from redshank.bundle import PRECISIONS
from redshank.errors import ConfigError
from redshank.reference import MIN_IMAGES

from .precisions import PrecisionPlan


@dataclass(frozen=True)
class ExportPlan:
    """What the user decides about an export."""

    model: str
    """Name under which the bundle is released."""
    tolerance: float
    """Largest difference of logits and embeddings, see `export.parity`."""
    parity_images: int
    """Real images in the parity check, over all source and target domains."""
    reference_images: int
    """Most images a domain behind the references and the judgement of further precisions."""
    max_batch: int
    abstain_below: float
    corrupted_images: int = 12_000
    """About so many corrupted images, see `accuracy_map.corrupted`; 0: no map."""
    parent_bundle: str | None = None
    precision: PrecisionPlan = field(default_factory=PrecisionPlan)
    """Further precisions beside fp32."""


def check_plan(plan: ExportPlan) -> None:
    """Refuses numbers that cannot work, by the names they have in the settings."""
    precision, limits = plan.precision, plan.precision.limits
    ranges = {
        "tolerance": (plan.tolerance, 0.0, 1.0),
        "parity_images": (plan.parity_images, 1, 10**6),
        "reference_images": (plan.reference_images, MIN_IMAGES, 10**6),
        "max_batch": (plan.max_batch, 2, 4096),
        "abstain_below": (plan.abstain_below, 0.0, 1.0),
        "corrupted_images": (plan.corrupted_images, 0, 10**7),
        "precision.calibration_images": (precision.calibration_images, 1, 10**5),
        "precision.fp16_tolerance": (precision.fp16_tolerance, 0.0, 1.0),
        "precision.accuracy_drop": (limits.accuracy_drop, 0.0, 1.0),
        "precision.agreement": (limits.agreement, 0.0, 1.0),
        "precision.confidence_shift": (limits.confidence_shift, 0.0, 1.0),
        "precision.cells_moved": (limits.cells_moved, 0.0, 1.0),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise ConfigError(f"export.{name} is {value}, expected {low} to {high}")
    for wanted in precision.further:
        if wanted not in PRECISIONS:
            raise ConfigError(
                f"export.precision.further has {wanted!r}, expected {', '.join(PRECISIONS)}"
            )
        if precision.further.count(wanted) > 1:
            raise ConfigError(f"export.precision.further has {wanted!r} more than once")
