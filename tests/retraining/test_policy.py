from __future__ import annotations

import dataclasses

import pytest

from redshank.errors import ConfigError
from redshank.files import rfc3339
from redshank.healing import Healing, State
from redshank.settings import GateSettings, RetrainingSettings
from redshank.trigger import Kind, Trigger, make_trigger
from retraining.policy import Mode, check_rules, cooldown_end, decide, outdated, superseded_by


def a_trigger(
    kind: Kind = "alarm", domains: tuple[str, ...] = ("pier",), created_at_s: float = 100.0
) -> Trigger:
    return make_trigger(
        kind=kind,
        model="default",
        domains=domains,
        onset_at_s=50.0,
        created_at_s=created_at_s,
        actor="a",
        evidence={},
    )


def a_healing(state: State, ended_s: float, model: str = "default") -> Healing:
    return Healing(1, "h", "t", model, state, rfc3339(ended_s), 1, "b-1", None, None, None, (), "")


@pytest.mark.parametrize(
    ("kind", "mode", "cooldown_ends_s", "images", "action"),
    [
        ("alarm", "auto", 0.0, 300, "start"),
        ("alarm", "propose", 0.0, 300, "start"),
        ("alarm", "off", 0.0, 300, "veto"),
        ("schedule", "off", 0.0, 300, "veto"),
        ("manual", "off", 0.0, 300, "start"),
        ("alarm", "auto", 1001.0, 300, "wait"),
        ("alarm", "auto", 1000.0, 300, "start"),
        ("manual", "auto", 1001.0, 300, "start"),
        ("alarm", "auto", 0.0, 299, "wait"),
        ("manual", "auto", 0.0, 299, "wait"),
    ],
)
def test_decide(kind: Kind, mode: Mode, cooldown_ends_s: float, images: int, action: str) -> None:
    decision = decide(
        a_trigger(kind),
        mode=mode,
        cooldown_ends_s=cooldown_ends_s,
        now_s=1000.0,
        count_images=lambda: images,
        min_images=300,
    )
    assert decision.action == action
    assert decision.reason


def test_images_are_counted_only_when_nothing_else_is_in_the_way() -> None:
    def count() -> int:
        raise AssertionError("counted for nothing")

    decision = decide(
        a_trigger(),
        mode="auto",
        cooldown_ends_s=9.0,
        now_s=1.0,
        count_images=count,
        min_images=300,
    )
    assert decision.action == "wait"


def test_cooldown_starts_at_a_release_and_doubles_at_a_refusal() -> None:
    def end(*healings: Healing) -> float:
        return cooldown_end("default", healings, cooldown_s=100.0)

    assert end() == 0
    assert end(a_healing("live", 1000.0)) == 1100.0
    assert end(a_healing("rejected", 1000.0)) == 1200.0
    assert end(a_healing("rolled_back", 1000.0)) == 1200.0
    assert end(a_healing("live", 1150.0), a_healing("rejected", 1000.0)) == 1250.0
    assert end(a_healing("live", 1000.0, model="other")) == 0
    quiet: tuple[State, ...] = ("vetoed", "superseded", "failed", "training", "proposed")
    assert end(*(a_healing(state, 1000.0) for state in quiet)) == 0
    never_began = dataclasses.replace(a_healing("rejected", 1000.0), champion=None)
    assert end(never_began) == 0


def test_a_newer_trigger_that_covers_the_domains_takes_over() -> None:
    old = a_trigger(created_at_s=100.0)
    wider = a_trigger(domains=("pier", "quay"), created_at_s=200.0)
    everywhere = a_trigger(domains=(), created_at_s=200.0)
    elsewhere = a_trigger(domains=("quay",), created_at_s=200.0)
    assert superseded_by(old, (old, wider)) is wider
    assert superseded_by(old, (old, everywhere)) is everywhere
    assert superseded_by(old, (old, elsewhere)) is None
    assert superseded_by(wider, (old, wider)) is None
    assert superseded_by(everywhere, (everywhere, a_trigger(created_at_s=300.0))) is None
    other_model = dataclasses.replace(wider, model="other")
    assert superseded_by(old, (old, other_model)) is None


def test_a_persons_trigger_yields_to_a_persons_only() -> None:
    manual = a_trigger("manual", created_at_s=100.0)
    assert superseded_by(manual, (manual, a_trigger(created_at_s=200.0))) is None
    assert superseded_by(manual, (manual, a_trigger("manual", created_at_s=200.0))) is not None
    assert superseded_by(a_trigger(), (a_trigger("manual", created_at_s=200.0),)) is not None


def test_two_triggers_never_supersede_each_other() -> None:
    one, two = a_trigger(), a_trigger()
    both = (one, two)
    assert [superseded_by(t, both) is None for t in both].count(True) == 1


def test_an_alarm_about_an_earlier_model_is_outdated() -> None:
    assert outdated(a_trigger(), released_at=rfc3339(101.0))
    assert not outdated(a_trigger(), released_at=rfc3339(99.0))
    assert not outdated(a_trigger("schedule"), released_at=rfc3339(101.0))
    assert not outdated(a_trigger("manual"), released_at=rfc3339(101.0))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (RetrainingSettings(lease_s=0), "lease_s is 0, expected above 0"),
        (RetrainingSettings(max_images=100), "max_images is 100, expected at least min_images"),
        (RetrainingSettings(client_share=2.0), "client_share is 2.0"),
        (RetrainingSettings(gates=GateSettings(alpha=0.5)), r"gates.alpha is 0.5"),
        (RetrainingSettings(gates=GateSettings(accuracy_margin=0.0)), "gates.accuracy_margin"),
        (RetrainingSettings(gates=GateSettings(entropy_drop=float("nan"))), "entropy_drop is nan"),
    ],
)
def test_impossible_rules_are_refused(rules: RetrainingSettings, message: str) -> None:
    check_rules(RetrainingSettings())
    with pytest.raises(ConfigError, match=message):
        check_rules(rules)
