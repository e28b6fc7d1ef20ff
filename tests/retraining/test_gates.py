from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from redshank.healing import Gate, Verdict
from retraining.gates import (
    accuracy_gate,
    agreement_gate,
    class_entropy,
    class_entropy_gate,
    golden_gate,
    nuclear_norm,
    nuclear_norm_gate,
    overall,
)

CLASSES = 10


def spread(n: int, seed: int = 0) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, CLASSES, n)


def one_hot(class_N: npt.NDArray[np.int64], confidence: float) -> npt.NDArray[np.float64]:
    rest = (1 - confidence) / (CLASSES - 1)
    probability_NC = np.full((class_N.size, CLASSES), rest)
    probability_NC[np.arange(class_N.size), class_N] = confidence
    return probability_NC


def test_entropy_is_a_share_of_the_largest() -> None:
    assert class_entropy(np.arange(100) % CLASSES, CLASSES) == pytest.approx(1.0)
    assert class_entropy(np.zeros(100, dtype=np.int64), CLASSES) == 0.0
    half = np.repeat([0, 1], 50)
    assert class_entropy(half, CLASSES) == pytest.approx(math.log(2) / math.log(10))
    assert class_entropy(np.zeros(0, dtype=np.int64), CLASSES) == 0.0


def test_nuclear_norm_against_its_definition() -> None:
    rng = np.random.default_rng(1)
    probability_NC = rng.dirichlet(np.ones(4), size=50)
    gram = np.linalg.eigvalsh(probability_NC.T @ probability_NC)
    assert nuclear_norm(probability_NC) == pytest.approx(np.sqrt(gram).sum() / math.sqrt(50 * 4))
    assert nuclear_norm(np.eye(4)) == pytest.approx(1.0)
    assert nuclear_norm(np.zeros((0, 4))) == 0.0


def test_collapse_with_rising_confidence_is_refused() -> None:
    """What self-training did on noisy sites: one class, surer than ever, source hardly worse."""
    truth_N = spread(600)
    champion_N = np.where(np.random.default_rng(2).random(600) < 0.63, truth_N, spread(600, 3))
    champion_NC = one_hot(champion_N, 0.70)
    challenger_N = np.full(600, 4)
    challenger_NC = one_hot(challenger_N, 0.99)
    assert challenger_NC.max(axis=1).mean() > champion_NC.max(axis=1).mean() + 0.2

    source_N = spread(900, 5)
    slightly_worse_N = source_N.copy()
    slightly_worse_N[:9] = (source_N[:9] + 1) % CLASSES
    gates = [
        golden_gate(0.0, parity=1e-6, why=""),
        accuracy_gate(
            "source_validation",
            "mnist",
            source_N,
            slightly_worse_N,
            source_N,
            margin=0.02,
            alpha=0.05,
        ),
        agreement_gate("mnist", source_N, slightly_worse_N, min_agreement=0.4),
        class_entropy_gate("pier", champion_N, challenger_N, classes=CLASSES, max_drop=0.05),
        nuclear_norm_gate("pier", champion_NC, challenger_NC, max_drop=0.01),
    ]
    verdicts: list[Verdict] = [gate.verdict for gate in gates]
    assert verdicts == ["pass", "pass", "pass", "fail", "fail"]
    assert overall(gates) == "fail"
    assert gates[3].value > 0.9


def test_partial_collapse_is_refused() -> None:
    champion_N, challenger_N = spread(600), spread(600)
    challenger_N[challenger_N < 4] = 4
    gate = class_entropy_gate("pier", champion_N, challenger_N, classes=CLASSES, max_drop=0.05)
    assert gate.verdict == "fail"


def test_a_healed_site_passes_although_its_answers_changed() -> None:
    """A champion that saw few classes, a challenger that sees them all: agreement is low."""
    truth_N = spread(600)
    champion_N = np.where(truth_N < 5, 1, truth_N)
    gate = class_entropy_gate("pier", champion_N, truth_N, classes=CLASSES, max_drop=0.05)
    assert gate.verdict == "pass"
    assert gate.value < 0


def test_sharper_answers_alone_change_no_gate() -> None:
    """Confidence is no input of any verdict on classes."""
    class_N = spread(400)
    gate = class_entropy_gate("pier", class_N, class_N, classes=CLASSES, max_drop=0.05)
    assert (gate.verdict, gate.value) == ("pass", 0.0)


def test_few_field_images_cannot_tell() -> None:
    few_N = spread(49)
    assert (
        class_entropy_gate("pier", few_N, few_N, classes=CLASSES, max_drop=0.05).verdict
        == "cannot_tell"
    )
    few_NC = one_hot(few_N, 0.9)
    assert nuclear_norm_gate("pier", few_NC, few_NC, max_drop=0.01).verdict == "cannot_tell"


def test_source_validation_says_n_and_what_it_could_see() -> None:
    label_N = spread(100)
    gate = accuracy_gate(
        "source_validation", "syn", label_N, label_N, label_N, margin=0.02, alpha=0.05
    )
    assert (gate.verdict, gate.n, gate.domain) == ("cannot_tell", 100, "syn")
    assert gate.detectable is not None
    assert "100 labelled images" in gate.sentence
    assert f"{gate.detectable:.1%}" in gate.sentence
    empty_N = label_N[:0]
    gate = accuracy_gate(
        "source_validation", "syn", empty_N, empty_N, empty_N, margin=0.02, alpha=0.05
    )
    assert (gate.verdict, gate.detectable, gate.value) == ("cannot_tell", None, 0.0)


def test_source_validation_refuses_a_loss() -> None:
    label_N = spread(500)
    worse_N = label_N.copy()
    worse_N[:40] = (label_N[:40] + 1) % CLASSES
    gate = accuracy_gate(
        "source_validation", "syn", label_N, worse_N, label_N, margin=0.02, alpha=0.05
    )
    assert gate.verdict == "fail"
    assert gate.value == pytest.approx(0.08)


def test_labels_from_the_field_show_a_healing() -> None:
    truth_N = spread(40)
    champion_N = np.where(np.arange(40) % 2, truth_N, (truth_N + 1) % CLASSES)
    gate = accuracy_gate(
        "field_labels", "pier", champion_N, truth_N, truth_N, margin=0.02, alpha=0.05
    )
    assert (gate.name, gate.verdict) == ("field_labels", "pass")
    back = accuracy_gate(
        "field_labels", "pier", truth_N, champion_N, truth_N, margin=0.02, alpha=0.05
    )
    assert back.verdict == "fail"


def test_agreement() -> None:
    old_N, new_N = np.array([0, 1, 2, 3]), np.array([0, 1, 9, 9])
    assert agreement_gate("syn", old_N, new_N, min_agreement=0.5).verdict == "pass"
    assert agreement_gate("syn", old_N, new_N, min_agreement=0.51).verdict == "fail"
    assert agreement_gate("syn", old_N[:0], new_N[:0], min_agreement=0.5).verdict == "cannot_tell"


def test_a_bundle_that_does_not_answer_is_refused() -> None:
    gate = golden_gate(None, parity=0.0, why="golden logits differ by 3")
    assert gate.verdict == "fail"
    assert "differ by 3" in gate.sentence


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("pass", "pass"), "pass"),
        (("pass", "cannot_tell"), "cannot_tell"),
        (("cannot_tell", "fail"), "fail"),
        ((), "cannot_tell"),
    ],
)
def test_overall(verdicts: tuple[Verdict, ...], expected: Verdict) -> None:
    gates = [Gate("g", "", verdict, 0.0, 0.0, 1, None, "") for verdict in verdicts]
    assert overall(gates) == expected
