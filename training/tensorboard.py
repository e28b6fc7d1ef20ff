"""Training curves for TensorBoard, while they grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redshank.errors import MissingPartError
from redshank.run import HistoryRow

SCALARS = {
    "loss/total": "loss",
    "loss/labelled": "loss_labelled",
    "loss/unlabelled": "loss_unlabelled",
    "loss/fixclr": "loss_fixclr",
    "pseudo_labels/used": "mask_rate",
    "pseudo_labels/precision": "pseudo_label_precision",
    "speed/learning_rate": "learning_rate",
    "speed/images_per_s": "images_per_s",
}


@contextmanager
def curves(folder: Path | None) -> Iterator[Callable[[HistoryRow], None]]:
    """Gives what writes rows of a training's history into `folder`; nothing where that is None.

    Raises:
        MissingPartError: no writer is installed.
    """
    if folder is None:
        yield lambda _row: None
        return
    with writer_class()(logdir=str(folder), flush_secs=10) as writer:

        def write(row: HistoryRow) -> None:
            for tag, value in scalars(row).items():
                writer.add_scalar(tag, value, row.step)

        yield write


def writer_class() -> Any:
    """The writer of tensorboardX.

    Raises:
        MissingPartError: it is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise MissingPartError(
            "training.tensorboard is set, but tensorboardX is not installed",
            hint="Install redshank[tensorboard], or leave the setting empty.",
        ) from error
    return SummaryWriter


def scalars(row: HistoryRow) -> dict[str, float]:
    """One point on each curve; figures that are not known leave a gap."""
    found = {tag: getattr(row, name) for tag, name in SCALARS.items()}
    found |= {f"pseudo_labels_used/{d}": value for d, value in row.mask_rate_by_domain.items()}
    found |= {f"pseudo_labels_precision/{d}": value for d, value in row.precision_by_domain.items()}
    return {tag: value for tag, value in found.items() if value is not None}
