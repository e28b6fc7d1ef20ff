"""What teaches the strong views: alignment, then a base method, then limits for target domains.

B rows, U unlabelled rows, C classes, S domains.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from redshank.nn.alignment import aligned_logits, even_prior, updated_prior
from redshank.nn.base_methods import BaseMethod, at_fixed_threshold
from redshank.nn.pseudo_labels import PseudoLabels, Rule, State, Weak

from .batches import Batch
from .class_cap import capped

Alignment = Literal["off", "global", "domain"]


class Teacher:
    """Pseudo-labels of one training, with the running averages behind them.

    Args:
        method: the base method.
        rule: its thresholds and momentum.
        label_share_C: class shares of the labels, which alignment keeps to.
        num_domains: S.
        num_images: unlabelled images, as `Batch.image_U` counts them.
        alignment: a running prior over all images, a domain each, or none.
        warm_up_steps: steps at the fixed threshold.
        target_domains: numbers of the domains without labels.
        class_cap: see `capped`.
        device: where the averages live.
    """

    def __init__(  # noqa: PLR0913 - plain keywords, one a switch
        self,
        method: BaseMethod,
        rule: Rule,
        *,
        label_share_C: Tensor,
        num_domains: int,
        num_images: int,
        alignment: Alignment = "off",
        warm_up_steps: int = 0,
        target_domains: tuple[int, ...] = (),
        class_cap: float = 0.0,
        device: torch.device,
    ) -> None:
        self.method, self._rule, self._alignment = method, rule, alignment
        self._label_share_C = label_share_C.to(device)
        self._warm_up_steps, self._class_cap = warm_up_steps, class_cap
        self._targets = target_domains
        self.dropped: tuple[int, ...] = ()
        """Numbers of domains whose images no longer teach."""
        classes = len(label_share_C)
        state = method.initial_state(classes, num_images)
        self.state: State = {name: tensor.to(device) for name, tensor in state.items()}
        priors = num_domains if alignment == "domain" else 1
        self.prior_SC = even_prior(priors, classes).to(device)

    def teach(self, logits_weak_UC: Tensor, batch: Batch, step: int) -> PseudoLabels:
        """Pseudo-labels of the unlabelled rows; running averages take them in."""
        if self._alignment != "off" and len(logits_weak_UC):
            number_U, momentum = self._prior_number(batch.domain_U), self._rule.momentum
            self.prior_SC = updated_prior(self.prior_SC, logits_weak_UC, number_U, momentum)
        logits_UC = self._aligned(logits_weak_UC, batch.domain_U)
        weak = Weak(logits_UC, batch.image_U)
        pseudo, self.state = self.method.assign(weak, self.state, self._rule)
        if step < self._warm_up_steps and self.method.unlabelled:
            pseudo = at_fixed_threshold(pseudo, self._rule.threshold)
        return pseudo

    def limited(self, pseudo: PseudoLabels, domain_U: Tensor) -> PseudoLabels:
        """The same under the caps of target domains, and without dropped ones."""
        for domain in self._targets if self._class_cap else ():
            pseudo = capped(pseudo, domain_U == domain, len(self._label_share_C), self._class_cap)
        present_U = self.present(domain_U)
        if present_U is None:
            return pseudo
        return pseudo._replace(weight_B=pseudo.weight_B * present_U)

    def teach_labelled(self, logits_weak_LC: Tensor, domain_L: Tensor) -> PseudoLabels:
        """Pseudo-labels of labelled rows, as if those were unknown; nothing is remembered.

        They are aligned as unlabelled rows are: what is taken off must be what was put on.
        """
        logits_LC = self._aligned(logits_weak_LC, domain_L)
        return self.method.assign(
            Weak(logits_LC, torch.zeros_like(domain_L)), self.state, self._rule
        )[0]

    def drop(self, domain: int) -> None:
        """From now on images of this domain teach nothing."""
        self.dropped = tuple(sorted({*self.dropped, domain}))

    def present(self, domain_B: Tensor) -> Tensor | None:
        """1 for rows that may teach, 0 for those of dropped domains; None where none is dropped."""
        if not self.dropped:
            return None
        gone = torch.tensor(self.dropped, device=domain_B.device)
        return (~torch.isin(domain_B, gone)).float()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold, beside `dropped`."""
        return {"prior_SC": self.prior_SC, **{f"state.{n}": t for n, t in self.state.items()}}

    def restore(self, tensors: dict[str, Tensor], dropped: list[int]) -> None:
        """Goes on from `tensors()` and `dropped`."""
        self.prior_SC = tensors["prior_SC"]
        self.state = {name: tensors[f"state.{name}"] for name in self.state}
        self.dropped = tuple(dropped)

    def _aligned(self, logits_BC: Tensor, domain_B: Tensor) -> Tensor:
        if self._alignment == "off":
            return logits_BC
        number_B = self._prior_number(domain_B)
        return aligned_logits(logits_BC, self.prior_SC, number_B, self._label_share_C)

    def _prior_number(self, domain_U: Tensor) -> Tensor:
        return domain_U if self._alignment == "domain" else torch.zeros_like(domain_U)
