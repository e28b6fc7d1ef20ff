import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import digits
from demo.digit_sources import load_mnist_5k
from demo.digit_styles import draw_mnist
from demo.digits import (
    COUNTS,
    DOMAINS,
    MNIST_SHARE,
    SplitCounts,
    build_digits,
    mnist_digits,
    mnist_m_digits,
)
from redshank.errors import InputError

SMALL = {domain: SplitCounts(2, 1, 1) for domain in DOMAINS}


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.png"))
    }


def test_build_writes_every_class_of_every_domain(tmp_path: Path) -> None:
    files = build_digits(tmp_path, counts=SMALL, workers=1)
    assert len(files) == 5 * 10 * 4
    assert set(digests(tmp_path)) == {file.path for file in files}
    for domain in DOMAINS:
        mine = [file for file in files if file.domain == domain]
        assert {file.label for file in mine} == {str(digit) for digit in range(10)}
        assert sorted({file.split for file in mine}) == ["test", "train", "val"]
    with Image.open(tmp_path / files[0].path) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")


def test_same_seed_same_bytes_and_other_processes_too(tmp_path: Path) -> None:
    counts = {"mnist_m": SplitCounts(1, 0, 0), "street": SplitCounts(1, 0, 0)}
    build_digits(tmp_path / "a", seed=3, counts=counts, workers=1)
    build_digits(tmp_path / "b", seed=3, counts=counts, workers=2)
    build_digits(tmp_path / "c", seed=4, counts=counts, workers=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a") != digests(tmp_path / "c")


def test_other_counts_keep_the_first_images(tmp_path: Path) -> None:
    build_digits(tmp_path / "few", counts={"syn": SplitCounts(1, 0, 0)}, workers=1)
    build_digits(tmp_path / "more", counts={"syn": SplitCounts(2, 1, 0)}, workers=1)
    few, more = digests(tmp_path / "few"), digests(tmp_path / "more")
    assert few.items() <= more.items()


def test_no_mnist_digit_is_in_two_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a black photo mnist_m shows the plain digit: all 5,000 must then be different ones."""
    black = [np.zeros((80, 80, 3), dtype=np.uint8)]
    monkeypatch.setattr(digits, "load_photos", lambda **_: black)
    rng = np.random.default_rng(0)
    expected = {draw_mnist(image).tobytes() for image in load_mnist_5k()[0]}
    seen = {
        draw(label, number, rng).tobytes()
        for draw, count in ((mnist_digits(0), MNIST_SHARE), (mnist_m_digits(0), 500 - MNIST_SHARE))
        for label in range(10)
        for number in range(count)
    }
    assert seen == expected


def test_default_counts_fit_the_packaged_digits() -> None:
    assert COUNTS["mnist"].total == MNIST_SHARE
    assert COUNTS["mnist_m"].total == 500 - MNIST_SHARE
    assert COUNTS["optdigits"].total == 174


def test_asking_for_too_many_digits_says_how_many_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mnist has 290 digits of class 0"):
        build_digits(tmp_path, counts={"mnist": SplitCounts(291, 0, 0)}, workers=1)


def test_unknown_domain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="svhn"):
        build_digits(tmp_path, counts={"svhn": SplitCounts(1, 0, 0)})
