"""May this trigger become a training now? Start, wait, or veto; pure functions of plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from redshank.errors import ConfigError
from redshank.files import parse_rfc3339
from redshank.healing import Healing
from redshank.settings import RetrainingSettings
from redshank.trigger import Trigger

Mode = Literal["off", "propose", "auto"]


@dataclass(frozen=True)
class Decision:
    """What to do with a pending healing, and why."""

    action: Literal["start", "wait", "veto"]
    reason: str


def decide(
    trigger: Trigger,
    *,
    mode: Mode,
    cooldown_ends_s: float,
    now_s: float,
    count_images: Callable[[], int],
    min_images: int,
) -> Decision:
    """The policy. A person's trigger skips mode `off` and the cool-down, never the image count.

    Args:
        trigger: the reason to retrain.
        mode: `retraining.mode`.
        cooldown_ends_s: from `cooldown_end`.
        now_s: seconds since the epoch.
        count_images: gives the number of field images, one a scene; asked last, as it costs.
        min_images: how many a healing needs.
    """
    manual = trigger.kind == "manual"
    if mode == "off" and not manual:
        return Decision("veto", "retraining.mode is off")
    if now_s < cooldown_ends_s and not manual:
        hours = (cooldown_ends_s - now_s) / 3600
        return Decision("wait", f"cool-down of the model ends in {hours:.1f} h")
    images = count_images()
    if images < min_images:
        where = ", ".join(trigger.domains) or "all domains"
        since = f" since {trigger.onset_at}" if trigger.onset_at else ""
        return Decision("wait", f"{images} of {min_images} field images{since} ({where})")
    return Decision("start", f"{images} field images captured")


def cooldown_end(model: str, healings: Iterable[Healing], *, cooldown_s: float) -> float:
    """When the model may be healed again, in seconds since the epoch (0: at any time).

    A released or refused challenger starts the cool-down; a refused or rolled back one doubles it.
    Vetoed, superseded and failed healings changed nothing and start none.
    """
    ends = [0.0]
    for healing in healings:
        if healing.model != model or healing.champion is None:
            continue
        ended_s = parse_rfc3339(healing.updated_at)
        if healing.state == "live":
            ends.append(ended_s + cooldown_s)
        elif healing.state in ("rejected", "rolled_back"):
            ends.append(ended_s + 2 * cooldown_s)
    return max(ends)


def superseded_by(trigger: Trigger, others: Sequence[Trigger]) -> Trigger | None:
    """A newer waiting trigger of the same model that covers all domains of this one, or None.

    A person's trigger, which skips the cool-down, yields to another person's only.
    """
    for other in others:
        newer = (other.created_at, other.trigger_id) > (trigger.created_at, trigger.trigger_id)
        covers = not other.domains or (
            bool(trigger.domains) and set(trigger.domains) <= set(other.domains)
        )
        kind_fits = other.kind in (trigger.kind, "manual")
        if newer and covers and kind_fits and other.model == trigger.model:
            return other
    return None


def outdated(trigger: Trigger, *, released_at: str) -> bool:
    """Whether an alarm is about a model that no longer answers: the release came after it."""
    return trigger.kind == "alarm" and parse_rfc3339(released_at) > parse_rfc3339(
        trigger.created_at
    )


def check_rules(rules: RetrainingSettings) -> None:
    """Refuse impossible numbers before any work: a gate would meet them hours later.

    Raises:
        ConfigError: a number is out of its range.
    """
    gates = rules.gates
    wanted = {
        "poll_s": (rules.poll_s > 0, rules.poll_s, "above 0"),
        "lease_s": (rules.lease_s > 0, rules.lease_s, "above 0"),
        "timeout_s": (rules.timeout_s > 0, rules.timeout_s, "above 0"),
        "cooldown_s": (rules.cooldown_s >= 0, rules.cooldown_s, "0 or more"),
        "canary_s": (rules.canary_s >= 0, rules.canary_s, "0 or more"),
        "canary_answers": (rules.canary_answers >= 1, rules.canary_answers, "1 or more"),
        "steps": (rules.steps >= 1, rules.steps, "1 or more"),
        "max_attempts": (rules.max_attempts >= 1, rules.max_attempts, "1 or more"),
        "min_images": (rules.min_images >= 1, rules.min_images, "1 or more"),
        "max_images": (
            rules.max_images >= rules.min_images,
            rules.max_images,
            f"at least min_images = {rules.min_images}",
        ),
        "client_share": (0 < rules.client_share <= 1, rules.client_share, "in (0, 1]"),
        "gates.accuracy_margin": (
            0 < gates.accuracy_margin < 1,
            gates.accuracy_margin,
            "in (0, 1)",
        ),
        "gates.alpha": (0 < gates.alpha < 0.5, gates.alpha, "in (0, 0.5)"),
        "gates.entropy_drop": (0 <= gates.entropy_drop <= 1, gates.entropy_drop, "in [0, 1]"),
        "gates.min_agreement": (0 <= gates.min_agreement <= 1, gates.min_agreement, "in [0, 1]"),
    }
    for name, (fits, value, expected) in wanted.items():
        if not fits:
            raise ConfigError(f"retraining.{name} is {value}, expected {expected}")
