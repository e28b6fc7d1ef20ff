"""FixCLR: class repulsion between pseudo-labelled features, over all domains at once.

After Son, Rezaei and Liu, "FixCLR: Negative-Class Contrastive Learning for Semi-Supervised Domain
Generalization", arXiv 2506.20841 (2025). No code is public; the equation is inferred from the
abstract (the supervised contrastive loss without its pull), so temperature and weight are ours:

    z_i = f_i / ||f_i||,  s_ij = z_i . z_j,  N(i) = {j, any domain: y_j != y_i}
    L = 1/|A| sum_{i in A} ( log sum_{j in N(i)} exp(s_ij / tau) - log|N(i)| ),  A = {i: N(i) != {}}

Shapes: B rows (anchors), D features, Q rows of the queue, K = B + Q keys.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from redshank.nn.gather import gather_rows, gather_rows_with_grad

Negatives = Literal["all", "cross", "within"]

MIN_NORM = 1e-6
"""Features shorter than this have no direction: they are neither anchor nor key."""


class Rows(NamedTuple):
    """Features with what decides who repels whom."""

    z_BD: Tensor
    y_B: Tensor
    domain_B: Tensor | None = None
    weight_B: Tensor | None = None


def fixclr_loss(  # noqa: PLR0913 - one keyword per ablation of docs/fixclr.md
    z_BD: Tensor,
    y_B: Tensor,
    *,
    tau: float = 0.5,
    domain_B: Tensor | None = None,
    weight_B: Tensor | None = None,
    negatives: Negatives = "all",
    attract: float = 0.0,
    per_class: bool = False,
    queue: Rows | None = None,
    gather: bool = False,
) -> Tensor:
    """Mean over anchors of the log-mean-exp of the similarities to samples of other classes.

    Computed in float32 (float64 stays) outside autocast. |d loss / d z_i| <= 1/tau for unit
    features, so a smaller `tau` needs a smaller weight of the loss.

    Args:
        z_BD: features of any scale; normalised here. Gradient flows to anchors and keys.
        y_B: class of each row, a label or a pseudo-label. No number means "unknown" (-1 would be a
            class of its own): leave such rows out, or give them weight 0.
        tau: temperature, > 0.
        domain_B: domain of each row; needed for `negatives` other than "all".
        weight_B: confidence in [0, 1] or a mask: w_i weighs the anchor, w_j the key (`+ log w_j`);
            a row of weight 0 is as good as absent. None is 1 for all rows.
        negatives: which rows of another class repel: of all domains, of other domains only
            ("cross") or of the anchor's domain only ("within").
        attract: weight of a pull to rows of the same class (as in SupCon); 0 is FixCLR.
        per_class: one log-mean-exp per class over its (anchor, key) pairs, then the mean over
            classes, instead of one per anchor.
        queue: further keys without gradient, such as features of earlier batches.
        gather: take anchors and keys of all processes. Each process then returns the loss of the
            whole batch, and gradients averaged over processes (as DistributedDataParallel does)
            equal those of one process; each must bring the same number of rows.

    Returns:
        A scalar; zero with a graph where no row has a negative (such as a batch of one class).

    Raises:
        ValueError: `tau` is not positive, `negatives` is unknown, domains are missing, or shapes
            do not fit.
    """
    _check_settings(tau, negatives)
    if negatives != "all" and (domain_B is None or (queue and queue.domain_B is None)):
        raise ValueError(f"negatives={negatives!r} needs the domain of each row, got none")
    rows = Rows(z_BD, y_B, domain_B, weight_B)
    _check_shapes(rows, z_BD.shape[-1:])
    if queue is not None:
        _check_shapes(queue, z_BD.shape[-1:])
    if gather:
        rows = gather_all(rows)
    with torch.autocast(z_BD.device.type, enabled=False):
        anchors = _normalised(rows)
        keys = anchors if queue is None else _joined(anchors, _normalised(queue))
        s_BK = anchors.z_BD @ keys.z_BD.T / tau
        pair_BK = _negative_pairs(anchors, keys, negatives)
        reduce = _per_class_mean if per_class else _per_anchor_mean
        loss = reduce(s_BK, pair_BK, anchors, keys)
        return loss - attract * _pull(s_BK, anchors, keys) if attract else loss


class FixCLRLoss(nn.Module):
    """`fixclr_loss` with its settings; a queue of features of earlier batches, a projection head.

    The queue is part of the state, so that a resumed training repeats itself exactly.
    """

    queue_z_QD: Tensor
    queue_y_Q: Tensor
    queue_domain_Q: Tensor

    def __init__(
        self,
        *,
        tau: float = 0.5,
        negatives: Negatives = "all",
        attract: float = 0.0,
        per_class: bool = False,
        queue_size: int = 0,
        embedding_dim: int = 0,
        projection_dim: int = 0,
        gather: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(tau, negatives)
        if min(queue_size, embedding_dim, projection_dim) < 0:
            raise ValueError("queue_size, embedding_dim and projection_dim must be 0 or more")
        if (queue_size or projection_dim) and not embedding_dim:
            raise ValueError("a queue or a projection needs embedding_dim, got 0")
        self.projection: nn.Module = nn.Identity()
        if projection_dim:
            self.projection = nn.Sequential(
                nn.Linear(embedding_dim, embedding_dim),
                nn.ReLU(),
                nn.Linear(embedding_dim, projection_dim),
            )
            embedding_dim = projection_dim
        self.tau, self.negatives, self.attract = tau, negatives, attract
        self.per_class, self.queue_size, self.gather = per_class, queue_size, gather
        self.register_buffer("queue_z_QD", torch.zeros(queue_size, embedding_dim))
        self.register_buffer("queue_y_Q", torch.full((queue_size,), -1))
        self.register_buffer("queue_domain_Q", torch.full((queue_size,), -1))

    def forward(
        self,
        z_BD: Tensor,
        y_B: Tensor,
        domain_B: Tensor | None = None,
        weight_B: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch; see `fixclr_loss` for shapes and ranges."""
        rows = Rows(self.projection(z_BD), y_B, domain_B, weight_B)
        if self.gather:
            rows = gather_all(rows)
        loss = fixclr_loss(
            rows.z_BD,
            rows.y_B,
            tau=self.tau,
            domain_B=rows.domain_B,
            weight_B=rows.weight_B,
            negatives=self.negatives,
            attract=self.attract,
            per_class=self.per_class,
            queue=self._queue() if self.queue_size else None,
        )
        if self.queue_size and self.training:
            self._push(rows)
        return loss

    def extra_repr(self) -> str:
        """The settings, for `print(model)`."""
        names = ("tau", "negatives", "attract", "per_class", "queue_size", "gather")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _queue(self) -> Rows:
        """An empty place holds a zero vector, which `fixclr_loss` takes for absent."""
        return Rows(self.queue_z_QD.clone(), self.queue_y_Q, self.queue_domain_Q)

    @torch.no_grad()
    def _push(self, rows: Rows) -> None:
        """Puts the newest rows first and drops the oldest."""
        domain_B = torch.full_like(rows.y_B, -1) if rows.domain_B is None else rows.domain_B
        z_BD = rows.z_BD.detach().to(self.queue_z_QD.dtype)
        if rows.weight_B is not None:
            z_BD = z_BD * (rows.weight_B > 0).to(z_BD.dtype)[:, None]
        for queue, new in (
            (self.queue_z_QD, z_BD),
            (self.queue_y_Q, rows.y_B),
            (self.queue_domain_Q, domain_B),
        ):
            queue.copy_(torch.cat([new.to(queue.dtype), queue])[: self.queue_size])


def _check_settings(tau: float, negatives: str) -> None:
    if not tau > 0:
        raise ValueError(f"tau must be positive, got {tau}")
    if negatives not in get_args(Negatives):
        expected = ", ".join(get_args(Negatives))
        raise ValueError(f"negatives is {negatives!r}, expected one of {expected}")


def _check_shapes(rows: Rows, features: torch.Size) -> None:
    """One label for many rows would be broadcast: no negatives, and a loss of 0 unseen."""
    if rows.z_BD.dim() != 2 or rows.z_BD.shape[1:] != features:
        raise ValueError(
            f"features have the shape {tuple(rows.z_BD.shape)}, expected [B, {features[0]}]"
        )
    for name, x_B in zip(Rows._fields[1:], rows[1:], strict=True):
        if x_B is not None and x_B.shape != rows.z_BD.shape[:1]:
            raise ValueError(
                f"{name} has the shape {tuple(x_B.shape)}, expected [{len(rows.z_BD)}], "
                "one for each row of features"
            )


def gather_all(rows: Rows) -> Rows:
    """The rows of all processes; features keep their gradient."""
    domain_B, weight_B = rows.domain_B, rows.weight_B
    return Rows(
        gather_rows_with_grad(rows.z_BD),
        gather_rows(rows.y_B),
        None if domain_B is None else gather_rows(domain_B),
        None if weight_B is None else gather_rows(weight_B),
    )


class _Unit(NamedTuple):
    """Rows after normalisation: weights are there, labels carry no gradient."""

    z_BD: Tensor
    y_B: Tensor
    domain_B: Tensor | None
    weight_B: Tensor


def _normalised(rows: Rows) -> _Unit:
    z_BD = rows.z_BD if rows.z_BD.dtype == torch.float64 else rows.z_BD.float()
    weight_B = z_BD.new_ones(len(z_BD)) if rows.weight_B is None else rows.weight_B.detach()
    weight_B = weight_B.to(z_BD.dtype) * (z_BD.detach().norm(dim=1) > MIN_NORM)
    return _Unit(functional.normalize(z_BD, dim=1), rows.y_B.detach(), rows.domain_B, weight_B)


def _joined(anchors: _Unit, queue: _Unit) -> _Unit:
    domain_K = None
    if anchors.domain_B is not None and queue.domain_B is not None:
        domain_K = torch.cat([anchors.domain_B, queue.domain_B])
    return _Unit(
        torch.cat([anchors.z_BD, queue.z_BD.detach().to(anchors.z_BD.dtype)]),
        torch.cat([anchors.y_B, queue.y_B]),
        domain_K,
        torch.cat([anchors.weight_B, queue.weight_B.to(anchors.weight_B.dtype)]),
    )


def _negative_pairs(anchors: _Unit, keys: _Unit, negatives: Negatives) -> Tensor:
    present_BK = (anchors.weight_B[:, None] > 0) & (keys.weight_B[None] > 0)
    pair_BK = anchors.y_B[:, None].ne(keys.y_B[None]) & present_BK
    if negatives == "all" or anchors.domain_B is None or keys.domain_B is None:
        return pair_BK
    same_BK = anchors.domain_B[:, None].eq(keys.domain_B[None])
    return pair_BK & (same_BK if negatives == "within" else ~same_BK)


def _per_anchor_mean(s_BK: Tensor, pair_BK: Tensor, anchors: _Unit, keys: _Unit) -> Tensor:
    has_B = pair_BK.any(dim=1)  # rows without negatives would be logsumexp of nothing: NaN gradient
    if not has_B.any():
        return anchors.z_BD.sum() * 0.0
    log_w_AK = _log_weight(keys.weight_B, pair_BK[has_B])
    repel_A = torch.logsumexp(s_BK[has_B] + log_w_AK, dim=1) - torch.logsumexp(log_w_AK, dim=1)
    weight_A = anchors.weight_B[has_B]
    return (weight_A * repel_A).sum() / weight_A.sum()


def _per_class_mean(s_BK: Tensor, pair_BK: Tensor, anchors: _Unit, keys: _Unit) -> Tensor:
    has_B = pair_BK.any(dim=1)
    if not has_B.any():
        return anchors.z_BD.sum() * 0.0
    log_w_BK = _log_weight(keys.weight_B, pair_BK)
    values = []
    for label in sorted(set(anchors.y_B[has_B].tolist())):
        rows_B = has_B & (anchors.y_B == label)
        log_w_AK = log_w_BK[rows_B] + anchors.weight_B[rows_B].log()[:, None]
        both_AK = s_BK[rows_B] + log_w_AK
        values.append(both_AK.flatten().logsumexp(0) - log_w_AK.flatten().logsumexp(0))
    return torch.stack(values).mean()


def _log_weight(weight_K: Tensor, pair_BK: Tensor) -> Tensor:
    tiny = torch.finfo(weight_K.dtype).tiny
    return torch.where(pair_BK, weight_K.clamp_min(tiny).log()[None], -torch.inf)


def _pull(s_BK: Tensor, anchors: _Unit, keys: _Unit) -> Tensor:
    """Mean similarity to the other rows of the anchor's class."""
    weight_BK = anchors.y_B[:, None].eq(keys.y_B[None]) * keys.weight_B[None]
    weight_BK.fill_diagonal_(0.0)
    total_B = weight_BK.sum(dim=1)
    weight_B = anchors.weight_B * (total_B > 0)
    if not weight_B.any():
        return anchors.z_BD.sum() * 0.0
    mean_B = (s_BK * weight_BK).sum(dim=1) / total_B.clamp_min(torch.finfo(s_BK.dtype).tiny)
    return (weight_B * mean_B).sum() / weight_B.sum()
