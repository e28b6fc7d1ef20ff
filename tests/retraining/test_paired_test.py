from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retraining.paired_test import detectable_drop, non_inferior, score


def answers(
    both: int, only_champion: int, only_challenger: int, none: int
) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_champion, only_challenger, none]
    champion = np.repeat([True, True, False, False], counts)
    challenger = np.repeat([True, False, True, False], counts)
    return champion, challenger


def test_equal_models_pass_from_180_images_at_two_points() -> None:
    few = non_inferior(*answers(179, 0, 0, 0), margin=0.02, alpha=0.05)
    enough = non_inferior(*answers(180, 0, 0, 0), margin=0.02, alpha=0.05)
    assert (few.verdict, enough.verdict) == ("cannot_tell", "pass")


def test_ten_percent_discordance_needs_about_seven_hundred_labels() -> None:
    def verdict(n: int) -> str:
        changed = n // 20
        same = n - 2 * changed
        return non_inferior(*answers(same, changed, changed, 0), margin=0.02, alpha=0.05).verdict

    assert verdict(600) == "cannot_tell"
    assert verdict(800) == "pass"


def test_a_clear_loss_fails_and_a_clear_gain_passes() -> None:
    loss = non_inferior(*answers(200, 30, 2, 20), margin=0.02, alpha=0.05)
    assert loss.verdict == "fail"
    assert loss.drop == pytest.approx(28 / 252)
    gain = non_inferior(*answers(100, 2, 30, 20), margin=0.02, alpha=0.05)
    assert gain.verdict == "pass"
    assert gain.drop < 0


def test_a_significant_loss_within_the_margin_does_not_fail() -> None:
    result = non_inferior(*answers(980, 14, 1, 5), margin=0.02, alpha=0.05)
    assert 0 < result.drop < 0.02
    assert result.verdict in ("pass", "cannot_tell")


def test_no_images_cannot_tell() -> None:
    result = non_inferior(*answers(0, 0, 0, 0), margin=0.02, alpha=0.05)
    assert (result.verdict, result.n, result.detectable) == ("cannot_tell", 0, None)


def test_bad_arguments_are_refused() -> None:
    champion, challenger = answers(3, 1, 1, 1)
    with pytest.raises(ValueError, match="equal shapes"):
        non_inferior(champion, challenger[:2], margin=0.02, alpha=0.05)
    with pytest.raises(ValueError, match="margin"):
        non_inferior(champion, challenger, margin=0.0, alpha=0.05)
    with pytest.raises(ValueError, match="alpha"):
        non_inferior(champion, challenger, margin=0.1, alpha=0.5)


def exact_pass_rate(n: int, drop: float, only_challenger: float, margin: float) -> float:
    """P(pass) when the true rates are `only_challenger + drop` and `only_challenger`."""
    z = NormalDist().inv_cdf(0.95)
    rates = (only_challenger + drop, only_challenger, 1 - 2 * only_challenger - drop)
    logs = [math.log(rate) if rate > 0 else -math.inf for rate in rates]
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            if score(b, c, n, margin) < -z:
                counts = (b, c, n - b - c)
                if all(k == 0 or rate > 0 for k, rate in zip(counts, rates, strict=True)):
                    log_ways = math.lgamma(n + 1) - sum(math.lgamma(k + 1) for k in counts)
                    used = (k * log for k, log in zip(counts, logs, strict=True) if k)
                    total += math.exp(log_ways + sum(used))
    return total


@pytest.mark.parametrize("n", [20, 60, 120])
@pytest.mark.parametrize("only_challenger", [0.0, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_exact_size_never_exceeds_alpha(n: int, only_challenger: float, margin: float) -> None:
    assert exact_pass_rate(n, margin, only_challenger, margin) <= 0.05


@pytest.mark.parametrize("drop", [0.05, 0.08])
def test_error_rate_of_simulated_gates_is_below_alpha(drop: float) -> None:
    """Harmful challengers (drop >= margin) that pass: at most 5 %, with a binomial bound."""
    rng, trials, n = np.random.default_rng(7), 2000, 400
    rates = np.array([0.05 + drop, 0.05, 0.9 - drop])
    counts = rng.multinomial(n, rates, size=trials)
    passed = sum(
        non_inferior(*answers(rest, b, c, 0), margin=0.05, alpha=0.05).verdict == "pass"
        for b, c, rest in counts.tolist()
    )
    bound = 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert passed / trials <= bound


def test_power_is_high_for_an_equal_challenger() -> None:
    rng, n = np.random.default_rng(3), 1000
    counts = rng.multinomial(n, [0.03, 0.03, 0.94], size=300)
    passed = sum(
        non_inferior(*answers(rest, b, c, 0), margin=0.03, alpha=0.05).verdict == "pass"
        for b, c, rest in counts.tolist()
    )
    assert passed >= 270


def test_false_refusals_of_equal_models_are_rare() -> None:
    rng, n, trials = np.random.default_rng(5), 300, 2000
    counts = rng.multinomial(n, [0.05, 0.05, 0.9], size=trials)
    failed = sum(
        non_inferior(*answers(rest, b, c, 0), margin=0.02, alpha=0.05).verdict == "fail"
        for b, c, rest in counts.tolist()
    )
    assert failed / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


@given(
    st.integers(0, 60), st.integers(0, 60), st.integers(0, 300), st.sampled_from([0.01, 0.05, 0.1])
)
def test_more_losses_never_help(b: int, c: int, rest: int, margin: float) -> None:
    n = b + c + rest + 1
    better, worse = score(b, c, n, margin), score(b + 1, c, n, margin)
    assert math.isfinite(better)
    assert worse >= -1.645 or better < -1.645  # where one more loss passes, none more passes too


def test_detectable_drop_is_the_design_figure() -> None:
    assert detectable_drop(67, 670, alpha=0.05) == pytest.approx(0.02, abs=0.0005)
    assert detectable_drop(0, 100, alpha=0.05) > 0
