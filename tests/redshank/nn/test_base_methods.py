"""Every base method against a naive loop over its paper's equations, in float64."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from redshank.nn.base_methods import BASE_METHODS, at_fixed_threshold
from redshank.nn.freematch import fairness_loss
from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak, pseudo_label_loss

CLASSES, IMAGES, ROWS = 4, 40, 12
RULE = Rule(threshold=0.8, floor=0.0, momentum=0.9, debias=0.5)


def batches(steps: int = 8, sharp: float = 2.0, bias: float = 1.0) -> Iterator[Weak]:
    """Batches that favour some classes."""
    generator = torch.Generator().manual_seed(0)
    lean = bias * torch.tensor([1.5, 0.5, 0.0, -0.5])
    for _ in range(steps):
        logits = sharp * torch.randn(ROWS, CLASSES, generator=generator) + lean
        image = torch.randperm(IMAGES, generator=generator)[:ROWS]
        yield Weak(logits.double(), image)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def doubled(state: State) -> State:
    return {n: t.double() if t.is_floating_point() else t for n, t in state.items()}


def run(name: str, rule: Rule = RULE) -> list[tuple[PseudoLabels, State]]:
    method, found = BASE_METHODS[name], []
    state = doubled(method.initial_state(CLASSES, IMAGES))
    for weak in batches():
        pseudo, state = method.assign(weak, state, rule)
        found.append((pseudo, state))
    return found


def likeliest(weak: Weak) -> list[tuple[list[float], int]]:
    rows = [softmax(row) for row in weak.logits_BC.tolist()]
    return [(p, p.index(max(p))) for p in rows]


def test_fixmatch_is_its_equation_4() -> None:
    for (pseudo, state), weak in zip(run("fixmatch"), batches(), strict=True):
        for row, (p, label) in enumerate(likeliest(weak)):
            assert pseudo.label_B[row] == label
            assert pseudo.weight_B[row] == float(max(p) >= 0.8)
            assert pseudo.confidence_B[row].item() == pytest.approx(max(p))
        assert state == {}


def test_flexmatch_is_its_equations_5_to_8() -> None:
    last: dict[int, int] = {}
    thresholds = set()
    for (pseudo, _), weak in zip(run("flexmatch"), batches(), strict=True):
        sigma = [sum(label == c for label in last.values()) for c in range(CLASSES)]
        beta = [s / max(*sigma, IMAGES - sum(sigma)) for s in sigma]
        rows = likeliest(weak)
        for row, (p, label) in enumerate(rows):
            threshold = beta[label] / (2 - beta[label]) * 0.8
            thresholds.add(round(threshold, 3))
            assert pseudo.weight_B[row] == float(max(p) >= threshold)
        for image, (p, label) in zip(weak.image_B.tolist(), rows, strict=True):
            if max(p) >= 0.8:
                last[image] = label
    assert len(thresholds) > 5


def test_freematch_is_its_equations_5_to_8_and_11() -> None:
    time, local, share = 1 / CLASSES, [1 / CLASSES] * CLASSES, [1 / CLASSES] * CLASSES
    uses = set()
    for (pseudo, state), weak in zip(run("freematch"), batches(), strict=True):
        rows = likeliest(weak)
        time = 0.9 * time + 0.1 * sum(max(p) for p, _ in rows) / ROWS
        for c in range(CLASSES):
            local[c] = 0.9 * local[c] + 0.1 * sum(p[c] for p, _ in rows) / ROWS
            share[c] = 0.9 * share[c] + 0.1 * sum(label == c for _, label in rows) / ROWS
        for row, (p, label) in enumerate(rows):
            used = max(p) >= local[label] / max(local) * time
            assert pseudo.weight_B[row] == float(used)
            uses.add(used)
        ratio = [a / b for a, b in zip(local, share, strict=True)]
        assert pseudo.expected_C is not None
        assert pseudo.expected_C.tolist() == pytest.approx([r / sum(ratio) for r in ratio])
        assert state["share_C"].tolist() == pytest.approx(share)
    assert uses == {True, False}


def test_fairness_is_equations_9_to_12() -> None:
    pseudo = run("freematch")[-1][0]
    pseudo = pseudo._replace(weight_B=(torch.arange(ROWS) % 3 > 0).double())
    strong = torch.randn(ROWS, CLASSES, dtype=torch.float64, requires_grad=True)
    loss = fairness_loss(strong, pseudo, weight=0.05)
    used = [row for row in range(ROWS) if pseudo.weight_B[row] > 0]
    rows = [softmax(strong[row].tolist()) for row in used]
    mean = [sum(p[c] for p in rows) / len(rows) for c in range(CLASSES)]
    hist = [sum(p.index(max(p)) == c for p in rows) / len(rows) for c in range(CLASSES)]
    ratio = [m / h if h else 0.0 for m, h in zip(mean, hist, strict=True)]
    batch = [r / sum(ratio) for r in ratio]
    assert pseudo.expected_C is not None
    pairs = zip(pseudo.expected_C.tolist(), batch, strict=True)
    wanted = 0.05 * sum(e * math.log(b + 1e-12) for e, b in pairs)
    assert loss.item() == pytest.approx(wanted)
    loss.backward()  # type: ignore[no-untyped-call]
    assert strong.grad is not None
    assert strong.grad[pseudo.weight_B == 0].abs().max() == 0.0


def test_fairness_without_used_rows_is_zero_with_a_graph() -> None:
    pseudo = run("freematch")[-1][0]
    strong = torch.randn(ROWS, CLASSES, requires_grad=True)
    loss = fairness_loss(strong, pseudo._replace(weight_B=torch.zeros(ROWS)))
    assert loss.item() == 0.0
    assert loss.requires_grad


def test_softmatch_is_its_truncated_gaussian_with_uniform_alignment() -> None:
    mean, variance, average = 1 / CLASSES, 1.0, [1 / CLASSES] * CLASSES
    weights: list[float] = []
    for (pseudo, _), weak in zip(run("softmatch"), batches(), strict=True):
        rows = likeliest(weak)
        batch_mean = sum(max(p) for p, _ in rows) / ROWS
        batch_variance = sum((max(p) - batch_mean) ** 2 for p, _ in rows) / (ROWS - 1)
        mean, variance = 0.9 * mean + 0.1 * batch_mean, 0.9 * variance + 0.1 * batch_variance
        for c in range(CLASSES):
            average[c] = 0.9 * average[c] + 0.1 * sum(p[c] for p, _ in rows) / ROWS
        for row, (p, label) in enumerate(rows):
            aligned = [q / CLASSES / a for q, a in zip(p, average, strict=True)]
            best = max(aligned) / sum(aligned)
            inside = (best - mean) ** 2 / (2 * variance / 4)
            weight = math.exp(-inside) if best < mean else 1.0
            assert pseudo.weight_B[row].item() == pytest.approx(weight)
            assert pseudo.label_B[row] == label
            weights.append(weight)
    assert min(weights) < 0.95
    assert max(weights) == 1.0


def test_debiaspl_is_its_counterfactual_and_margin() -> None:
    average, moved_labels = [1 / CLASSES] * CLASSES, 0
    for (pseudo, _), weak in zip(run("debiaspl"), batches(), strict=True):
        for row, logits in enumerate(weak.logits_BC.tolist()):
            pairs = zip(logits, average, strict=True)
            p = softmax([z - 0.5 * math.log(a) for z, a in pairs])
            assert pseudo.label_B[row] == p.index(max(p))
            assert pseudo.weight_B[row] == float(max(p) >= 0.8)
            moved_labels += p.index(max(p)) != logits.index(max(logits))
        rows = likeliest(weak)
        for c in range(CLASSES):
            average[c] = 0.9 * average[c] + 0.1 * sum(p[c] for p, _ in rows) / ROWS
        assert pseudo.margin_C is not None
        assert pseudo.margin_C.tolist() == pytest.approx([0.5 * math.log(a) for a in average])
    assert moved_labels > 0


def naive_loss(strong: Tensor, pseudo: PseudoLabels) -> float:
    total = 0.0
    margin = [0.0] * CLASSES if pseudo.margin_C is None else pseudo.margin_C.tolist()
    for row, logits in enumerate(strong.tolist()):
        p = softmax([z + m for z, m in zip(logits, margin, strict=True)])
        total -= pseudo.weight_B[row].item() * math.log(p[int(pseudo.label_B[row])])
    return total / len(strong)


@pytest.mark.parametrize("name", sorted(BASE_METHODS))
def test_loss_of_the_strong_view_equals_a_loop(name: str) -> None:
    pseudo = run(name)[-1][0]
    strong = torch.randn(ROWS, CLASSES, dtype=torch.float64)
    assert pseudo_label_loss(strong, pseudo).item() == pytest.approx(naive_loss(strong, pseudo))


def test_defixmatch_takes_the_loss_on_labelled_images_off() -> None:
    method = BASE_METHODS["defixmatch"]
    assert method.extra_rows == "labelled"
    assert method.extra_loss is not None
    pseudo = run("defixmatch")[-1][0]
    strong = torch.randn(ROWS, CLASSES, dtype=torch.float64)
    assert method.extra_loss(strong, pseudo).item() == pytest.approx(-naive_loss(strong, pseudo))
    total = pseudo_label_loss(strong, pseudo) + method.extra_loss(strong, pseudo)
    assert total.item() == 0.0  # unbiased: the same images on both sides cancel


def test_supervised_uses_no_pseudo_label() -> None:
    assert all(not pseudo.weight_B.any() for pseudo, _ in run("supervised"))
    assert not BASE_METHODS["supervised"].unlabelled


@pytest.mark.parametrize("name", ["flexmatch", "freematch", "softmatch"])
def test_floor_keeps_an_unsure_network_from_teaching_itself(name: str) -> None:
    """A fresh network is unsure; without a floor much of what it says is taken for true."""
    used = {}
    for floor in (0.0, 0.7):
        method, rule = BASE_METHODS[name], RULE._replace(floor=floor)
        state = method.initial_state(CLASSES, IMAGES)
        for weak in batches(60, sharp=0.1, bias=0.1):
            pseudo, state = method.assign(weak, state, rule)
        used[floor] = float(pseudo.weight_B.mean())
    assert used[0.0] > 0.3
    assert used[0.7] < 0.01


@pytest.mark.parametrize("name", sorted(BASE_METHODS))
def test_labels_of_no_rows_are_empty_and_leave_the_state(name: str) -> None:
    method = BASE_METHODS[name]
    before = method.initial_state(CLASSES, IMAGES)
    none = Weak(torch.zeros(0, CLASSES), torch.zeros(0, dtype=torch.int64))
    pseudo, after = method.assign(none, before, RULE)
    assert len(pseudo.label_B) == len(pseudo.weight_B) == 0
    assert all(torch.equal(after[n], before[n]) for n in before if n != "threshold_C")
    strong = torch.zeros(0, CLASSES, requires_grad=True)
    assert pseudo_label_loss(strong, pseudo).requires_grad


@pytest.mark.parametrize("name", sorted(BASE_METHODS))
def test_a_method_is_one_short_file(name: str) -> None:
    path = Path(inspect.getfile(BASE_METHODS[name].assign))
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("name", sorted(BASE_METHODS))
def test_methods_are_pure_and_carry_no_gradient(name: str) -> None:
    method = BASE_METHODS[name]
    state = method.initial_state(CLASSES, IMAGES)
    before = {n: t.clone() for n, t in state.items()}
    weak = next(batches())
    weak = weak._replace(logits_BC=weak.logits_BC.float().requires_grad_())
    pseudo, after = method.assign(weak, state, RULE)
    assert all(torch.equal(state[n], before[n]) for n in before)
    assert set(after) == set(before)
    assert all(after[n].dtype == before[n].dtype for n in before)
    assert not any(t.requires_grad for t in (*after.values(), pseudo.weight_B, pseudo.confidence_B))


def test_first_steps_use_the_fixed_threshold() -> None:
    pseudo = run("softmatch")[0][0]
    fixed = at_fixed_threshold(pseudo, 0.8)
    assert torch.equal(fixed.weight_B, (pseudo.confidence_B >= 0.8).double())
    assert torch.equal(fixed.label_B, pseudo.label_B)
