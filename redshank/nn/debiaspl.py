"""DebiasPL: pseudo-labels and margins corrected by what the network says on average.

Wang et al., "Debiased Learning from Naturally Imbalanced Pseudo-Labels", CVPR 2022, arXiv
2201.01490, section 4. Shapes: B rows, C classes.
"""

from __future__ import annotations

import torch

from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak, moved, probabilities

TINY = 1e-12


def debiaspl_state(num_classes: int, _num_images: int) -> State:
    """The running mean of the probabilities starts even."""
    return {"prob_C": torch.full((num_classes,), 1.0 / num_classes)}


def debiaspl(weak: Weak, state: State, rule: Rule) -> tuple[PseudoLabels, State]:
    """Counterfactual pseudo-labels and adaptive margins.

    Pseudo-labels come from logits - debias * log(p), where p is the running mean of the
    probabilities, at the fixed threshold. The strong view is taught with logits lowered by
    debias * log(1 / p), so `margin_C` = debias * log(p): a class that is rarely named must win by
    more. Labels use p of earlier batches, the margin takes this one in, as in the authors' code.
    """
    logits_BC = weak.logits_BC.detach()
    if logits_BC.dtype != torch.float64:
        logits_BC = logits_BC.float()
    shift_C = rule.debias * state["prob_C"].clamp_min(TINY).log()
    confidence_B, label_B = (logits_BC - shift_C).softmax(dim=1).max(dim=1)
    weight_B = (confidence_B >= rule.threshold).to(logits_BC.dtype)
    if len(label_B):
        mean_C = probabilities(logits_BC).mean(dim=0)
        state = {"prob_C": moved(state["prob_C"], mean_C, rule.momentum)}
    margin_C = rule.debias * state["prob_C"].clamp_min(TINY).log()
    return PseudoLabels(label_B, weight_B, confidence_B, margin_C=margin_C), state
